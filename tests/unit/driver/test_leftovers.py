"""What interrupted builds leave is found, and what a running build needs is left alone."""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import pytest

from tritonbuild.findings import Finding
from tritonbuild.leftovers import check_build_folder, check_engine_leftovers, check_pid_files, is_held
from tritonbuild.records import update_record


@pytest.fixture
def row(tmp_path: Path) -> Path:
    """The folder of a row that was built well."""
    folder = tmp_path / "24.08-cpu-pypi"
    folder.mkdir()
    with filelock.FileLock(str(folder / "lock")):
        update_record(folder, size=1)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "dockerd.log").touch()
    return folder


def _only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1
    return findings[0]


def test_a_build_that_ended_well_left_nothing(row: Path, tmp_path: Path) -> None:
    assert _only(check_build_folder(tmp_path)).level == "ok"
    assert (row / "lock").exists(), "the file stays; only a held lock means something"


def test_a_machine_that_never_built_has_nothing(tmp_path: Path) -> None:
    assert _only(check_build_folder(tmp_path / "none")).level == "ok"


@pytest.mark.parametrize("name", [".record.json.x1y2", "context.new/x", "record.json"])
def test_what_is_half_written_is_named_with_the_command_that_removes_it(
    row: Path, tmp_path: Path, name: str
) -> None:
    (row / name).parent.mkdir(exist_ok=True)
    (row / name).write_text('{"size": ', encoding="utf-8")
    finding = _only(check_build_folder(tmp_path))
    assert finding.level == "warning"
    left = row / name.partition("/")[0]
    assert finding.message == f"half written: {left.relative_to(tmp_path)}"
    assert finding.remedy == f"remove with rm -r {left}"


def test_the_files_of_a_running_build_are_not_called_leftovers(row: Path, tmp_path: Path) -> None:
    (row / "context.new").mkdir()
    with filelock.FileLock(str(row / "lock")):
        finding = _only(check_build_folder(tmp_path))
    assert finding.subject == "lock"
    assert finding.message == "24.08-cpu-pypi is being built or tested by another process"


def test_looking_at_a_lock_does_not_take_it(row: Path) -> None:
    assert not is_held(row / "lock")
    with filelock.FileLock(str(row / "lock"), timeout=0):
        assert is_held(row / "lock")
    assert not is_held(row / "lock")


def test_two_that_look_at_a_lock_do_not_take_each_other_for_a_build(row: Path) -> None:
    with (row / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_held(row / "lock")


def test_a_download_is_abandoned_when_its_process_has_ended(row: Path, tmp_path: Path) -> None:
    proc = tmp_path / "wheels" / "proc"
    (proc / "41").mkdir(parents=True)
    for pid in ("41", "42"):
        (tmp_path / "wheels" / f"torch-2.13.0+cpu-cp311.{pid}.part").touch()
    finding = _only(check_build_folder(tmp_path, proc))
    assert finding.message == "half written: wheels/torch-2.13.0+cpu-cp311.42.part"


def test_only_this_projects_containers_and_images_are_looked_at() -> None:
    """The remedy removes by the same label, so nobody loses anything else."""
    asked: list[Any] = []

    def listing(**options: Any) -> list[str]:
        asked.append(options["filters"])
        return ["one"]

    client: Any = SimpleNamespace(
        containers=SimpleNamespace(list=listing), images=SimpleNamespace(list=listing)
    )
    findings = check_engine_leftovers(client)
    assert [filters["label"] for filters in asked] == ["io.tritonbuild.row"] * 2
    assert "running" not in asked[0]["status"]
    assert asked[1]["dangling"] is True
    assert all("prune --filter label=io.tritonbuild.row" in str(finding.remedy) for finding in findings)


def test_each_stale_pid_file_is_named() -> None:
    finding = _only(check_pid_files([Path("/var/run/docker.pid")]))
    assert finding.level == "warning"
    assert finding.remedy == "remove with rm /var/run/docker.pid"
