"""The payload for a machine without a network: complete wheels, whole parts, the right tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from benchmarks.offline import pack, strays
from benchmarks.offline.closure import Wheel, check, read_wheel


def wheel(name: str, *requires: str, version: str = "1.0") -> Wheel:
    return Wheel(name, Version(version), tuple(Requirement(text) for text in requires))


def test_a_requirement_that_nobody_has_is_missing() -> None:
    found = check(
        [wheel("engine", "torch==2.11.0", "flashinfer-cubin", "Typing_Inspection")],
        ["torch"],
        ["flashinfer-*"],
        [],
    )
    assert found.missing == ("Typing_Inspection (by engine)",)
    assert (found.lent, found.omitted) == (("torch",), ("flashinfer-cubin",))


def test_requirements_of_another_platform_do_not_count() -> None:
    wheels = [wheel("engine", 'pywin32; sys_platform == "win32"', 'tomli; python_version < "3.11"')]
    assert check(wheels, [], [], []).missing == ()


def test_requirements_of_an_extra_count_where_it_is_asked_for() -> None:
    extra = 'uvicorn; extra == "standard"'
    assert check([wheel("web", extra)], [], [], []).missing == ()
    assert check([wheel("web", extra), wheel("engine", "web[standard]")], [], [], []).missing


def test_a_version_outside_the_asked_range_is_a_conflict_unless_overridden() -> None:
    wheels = [wheel("engine", "numpy>=2"), wheel("numpy", version="1.26.4")]
    assert check(wheels, [], [], []).conflicting == ("numpy>=2 (by engine), packed is 1.26.4",)
    assert check(wheels, [], [], ["numpy"]).conflicting == ()


def test_a_wheel_is_read_by_its_own_metadata(tmp_path: Path) -> None:
    path = tmp_path / "web-2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("web/_vendor/other-1.dist-info/METADATA", "Name: other\nVersion: 1\n")
        archive.writestr(
            "web-2.0.dist-info/METADATA", "Name: Web_Kit\nVersion: 2.0\nRequires-Dist: h11>=0.8\n"
        )
    assert read_wheel(path) == wheel("web-kit", "h11>=0.8", version="2.0")


def test_parts_in_the_order_of_their_names_are_the_archive(tmp_path: Path) -> None:
    data = os.urandom(2500)
    parts = pack.Parts(tmp_path, part_bytes=1000)
    for begin in range(0, len(data), 700):
        parts.write(data[begin : begin + 700])
    files = sorted(tmp_path.glob("p*/payload.*"))
    assert [file.stat().st_size for file in files] == [1000, 1000, 500]
    assert b"".join(file.read_bytes() for file in files) == data


def test_the_tree_holds_backend_and_benchmarks_and_the_script(tmp_path: Path) -> None:
    pack.write_tree(tmp_path, pack.ROOT)
    with tarfile.open(tmp_path / "ptree" / "tree.tar") as archive:
        names = archive.getnames()
    assert {"pay/run.sh", "pay/tree/backend_src/model.py", "pay/tree/benchmarks/offline/lent.txt"} <= {*names}
    assert not [name for name in names if "/results" in name or "__pycache__" in name]


@pytest.mark.parametrize("how", ["by its mark", "by its folder"])
def test_what_a_run_left_is_found_and_its_own_pipe_is_not(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "pay"
    folder.mkdir()
    mark = {strays.MARK.decode().split("=")[0]: "1"} if how == "by its mark" else {}
    program = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
    options = {"cwd": folder if not mark else tmp_path, "env": mark, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(program, start_new_session=True, **options) as left,
        subprocess.Popen(program, **options) as beside,
    ):
        try:
            for process in (left, beside):
                assert process.stdout is not None
                process.stdout.readline()
            found = strays.find(folder)
        finally:
            left.kill()
            beside.kill()
    assert left.pid in found
    assert beside.pid not in found
