"""A bare machine: what is installed or made there, what is asked for instead, and that it is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritonbuild import host
from tritonbuild.errors import ToolMissing
from tritonbuild.host import ensure_engine, make_base
from tritonbuild.schema import Base

RAN = list[list[str]]


class Machine:
    """A machine as host.py sees it: who we are, what is installed, whether an engine answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.ran: RAN = []
        self.env: list[dict[str, str]] = []
        self.tools = {"apt-get"}
        self.may_install = True
        self.engine_answers_after = 0
        self.asked = 0
        self.client: Any = SimpleNamespace()
        self.clock = 0.0
        self.daemon = SimpleNamespace(poll=lambda: None, returncode=None)
        self.images: dict[str, str] = {}
        self.imported: list[tuple[str, str]] = []
        monkeypatch.setattr(host, "connect", self.connect)
        monkeypatch.setattr(host, "run", self.run)
        monkeypatch.setattr(host, "can_install", lambda: self.may_install)
        monkeypatch.setattr(host, "find_image", self.find_image)
        monkeypatch.setattr(host, "import_image", self.import_image)
        monkeypatch.setattr(shutil, "which", lambda name: name if name in self.tools else None)
        monkeypatch.setattr(subprocess, "Popen", self.start)
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(host, "BUILD", tmp_path / "build")
        monkeypatch.setattr(host, "PID_FILES", ())
        monkeypatch.setattr(host, "_ENGINE_LOG", tmp_path / "build" / "dockerd.log")
        self.has_systemd = False
        is_dir = Path.is_dir
        monkeypatch.setattr(
            Path,
            "is_dir",
            lambda path: self.has_systemd if str(path) == "/run/systemd/system" else is_dir(path),
        )

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def connect(self) -> Any:
        self.asked += 1
        if self.asked > self.engine_answers_after:
            return self.client
        message = "no container engine answers: nothing there"
        raise ToolMissing(message, hint="start Docker")

    def run(self, argv: Sequence[str], **options: Any) -> str:
        self.ran.append(list(argv))
        self.env.append(dict(options.get("env") or {}))
        return ""

    def start(self, argv: Sequence[str], **_: object) -> Any:
        self.ran.append(list(argv))
        return self.daemon

    def find_image(self, _: object, name: str) -> Any:
        return SimpleNamespace(id=self.images[name]) if name in self.images else None

    def import_image(self, _: object, archive: Path, *, name: str, tag: str, changes: Sequence[str]) -> None:
        self.imported.append((name, tag))
        self.images[f"{name}:{tag}"] = "sha256:made"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


# --- the engine ---------------------------------------------------------------------------


def test_an_engine_that_answers_is_used_as_it_is(machine: Machine, step: Any) -> None:
    assert ensure_engine(step) is machine.client
    assert machine.ran == []
    assert step.text == ""


def test_a_wrong_docker_host_is_never_worked_around(
    machine: Machine, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example:2375")
    machine.engine_answers_after = 99
    with pytest.raises(ToolMissing) as failure:
        ensure_engine(step)
    assert failure.value.message == "DOCKER_HOST is set, but no container engine answers: nothing there"
    assert "unset it" in str(failure.value.hint)
    assert machine.ran == []


def test_who_may_not_install_is_told_what_to_install(machine: Machine, step: Any) -> None:
    machine.may_install = False
    machine.engine_answers_after = 99
    with pytest.raises(ToolMissing) as failure:
        ensure_engine(step)
    assert "install Docker Engine 20.10 or newer and start it" in str(failure.value.hint)
    assert machine.ran == []


def test_root_on_debian_gets_an_engine_and_is_told(machine: Machine, step: Any) -> None:
    machine.engine_answers_after = 3
    assert ensure_engine(step) is machine.client
    assert machine.ran == [
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "docker.io"],
        ["dockerd"],
    ]
    assert "no container engine here, so Debian's docker.io is installed" in step.text
    assert "starting dockerd, its log is build/dockerd.log" in step.text


def test_an_installed_engine_is_only_started(machine: Machine, step: Any) -> None:
    machine.tools.add("dockerd")
    machine.engine_answers_after = 1
    ensure_engine(step)
    assert machine.ran == [["dockerd"]]


def test_an_engine_starts_though_a_killed_one_left_its_pid_file(
    machine: Machine, step: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "docker.pid"
    left.write_text("no number", encoding="utf-8")
    monkeypatch.setattr(host, "PID_FILES", (left,))
    machine.tools.add("dockerd")
    machine.engine_answers_after = 1
    ensure_engine(step)
    assert not left.exists()


def test_systemd_starts_the_engine_where_it_runs(machine: Machine, step: Any) -> None:
    machine.tools.add("dockerd")
    machine.engine_answers_after = 1
    machine.has_systemd = True
    ensure_engine(step)
    assert machine.ran == [["systemctl", "start", "docker"]]
    assert "starting the engine with systemctl" in step.text


def test_an_engine_that_dies_at_once_is_reported_with_its_log(machine: Machine, step: Any) -> None:
    machine.tools.add("dockerd")
    machine.engine_answers_after = 99
    machine.daemon = SimpleNamespace(poll=lambda: 1, returncode=1)
    with pytest.raises(ToolMissing, match="dockerd ended at once with code 1") as failure:
        ensure_engine(step)
    assert "dockerd.log" in str(failure.value.hint)


def test_an_engine_that_never_answers_is_given_up(machine: Machine, step: Any) -> None:
    machine.tools.add("dockerd")
    machine.engine_answers_after = 10_000
    with pytest.raises(ToolMissing, match="the engine did not answer within 60 s"):
        ensure_engine(step)
    assert 60 <= machine.clock < 62


@pytest.mark.parametrize(
    ("uid", "release", "apt", "expected"),
    [
        (0, "ID=debian\n", True, True),
        (0, 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', True, True),
        (1000, "ID=debian\n", True, False),
        (0, "ID=fedora\nNAME=debian\n", True, False),
        (0, "ID=debian\n", False, False),
    ],
)
def test_only_root_on_debian_may_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, release: str, apt: bool, expected: bool
) -> None:
    file = tmp_path / "os-release"
    file.write_text(release, encoding="utf-8")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(shutil, "which", lambda name: name if apt else None)
    monkeypatch.setattr(host, "Path", lambda _: file)
    assert host.can_install() is expected


# --- a base image made here ---------------------------------------------------------------


@pytest.fixture
def base(matrix: Any) -> Base:
    found: Base = matrix.bases["debian-bookworm"]
    return found


MADE = "tritonbuild-base:bookworm"


def _make(machine: Machine, base: Base, step: Any) -> str:
    return make_base(machine.client, base, MADE, step, trouble="debian:x cannot be pulled (no route)")


def test_a_base_is_made_and_that_is_said(machine: Machine, base: Base, step: Any) -> None:
    machine.tools.add("mmdebstrap")
    assert _make(machine, base, step) == "sha256:made"
    assert f"making {MADE} with mmdebstrap instead" in step.text
    (argv,) = machine.ran
    assert argv[:2] == ["mmdebstrap", "--variant=minbase"]
    assert "bookworm" in argv
    assert machine.imported == [("tritonbuild-base", "bookworm")]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
def test_a_made_base_has_the_same_date_everywhere(
    machine: Machine, base: Base, step: Any, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        machine.tools.add("mmdebstrap")
        _make(machine, base, step)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert str(base.date) == "2026-08-24"
    assert machine.env == [{"SOURCE_DATE_EPOCH": "1787529600"}]


def test_a_made_base_is_rid_of_the_files_that_mmdebstrap_copies_from_the_host(
    machine: Machine, base: Base, step: Any
) -> None:
    machine.tools.add("mmdebstrap")
    _make(machine, base, step)
    (hook,) = (word for word in machine.ran[-1] if word.startswith("--customize-hook="))
    assert 'rm -f "$1/etc/hostname"' in hook
    assert 'install -m 644 /dev/null "$1/etc/resolv.conf"' in hook


def test_mmdebstrap_is_installed_where_that_is_possible(machine: Machine, base: Base, step: Any) -> None:
    _make(machine, base, step)
    assert [argv[0] for argv in machine.ran] == ["apt-get", "apt-get", "mmdebstrap"]
    assert "installing mmdebstrap, debian-archive-keyring with apt-get" in step.text


def test_who_may_not_install_mmdebstrap_is_told(machine: Machine, base: Base, step: Any) -> None:
    machine.may_install = False
    with pytest.raises(ToolMissing) as failure:
        _make(machine, base, step)
    assert failure.value.message == "debian:x cannot be pulled (no route)"
    assert "install mmdebstrap, or name a base image: --image base,REF" in str(failure.value.hint)
    assert machine.ran == []


def test_pid_files_of_a_killed_engine_are_told_from_those_of_a_running_one(tmp_path: Path) -> None:
    """dockerd refuses to start when its old number belongs to any program at all."""
    proc = tmp_path / "proc"
    for pid, program in (("41", "dockerd"), ("42", "python3")):
        (proc / pid).mkdir(parents=True)
        (proc / pid / "comm").write_text(f"{program}\n", encoding="utf-8")
    files = {pid: tmp_path / f"{pid}.pid" for pid in ("41", "42", "43")}
    for pid, file in files.items():
        file.write_text(f"{pid}\n", encoding="utf-8")
    stale = host.find_stale_pid_files([*files.values(), tmp_path / "none.pid"], proc)
    assert stale == [files["42"], files["43"]]
