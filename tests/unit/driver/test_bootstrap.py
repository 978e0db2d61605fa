"""How the driver comes by its own virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tritonbuild import bootstrap


class Machine:
    """Answers the programs that the bootstrap runs, and notes them."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.failing: Callable[[list[str]], bool] = lambda _: False

    def run(self, argv: list[str], **_: object) -> SimpleNamespace:
        self.calls.append(argv)
        if "venv" in argv and not self.failing(argv):
            (Path(argv[-1]) / "bin").mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(returncode=int(self.failing(argv)))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    machine = Machine()
    (tmp_path / "requirements.txt").write_text("a==1\n", encoding="utf-8")
    monkeypatch.setattr(subprocess, "run", machine.run)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(bootstrap, "_MARK", tmp_path / ".venv" / "requirements.sha256")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return machine


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Collects what the bootstrap would have replaced this process with."""
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, argv: calls.append(argv))
    monkeypatch.setattr(sys, "argv", ["./build.py", "list", "--json"])
    return calls


def test_the_environment_is_made_once(machine: Machine, started: list[list[str]], tmp_path: Path) -> None:
    bootstrap.ensure_environment()
    made, installed = machine.calls
    assert made[1:3] == ["-m", "venv"]
    assert "--require-hashes" in installed
    assert started == [[str(tmp_path / ".venv/bin/python"), "./build.py", "list", "--json"]]
    machine.calls.clear()
    bootstrap.ensure_environment()
    assert machine.calls == []


def test_changed_requirements_make_it_anew(
    machine: Machine, started: list[list[str]], tmp_path: Path
) -> None:
    bootstrap.ensure_environment()
    (tmp_path / "requirements.txt").write_text("a==2\n", encoding="utf-8")
    assert not bootstrap.is_ready()
    bootstrap.ensure_environment()
    assert len(machine.calls) == 4


def test_an_interrupted_installation_is_not_taken_for_done(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.failing = lambda argv: "pip" in argv
    with pytest.raises(SystemExit) as end:
        bootstrap.ensure_environment()
    assert end.value.code == 7
    assert not bootstrap.is_ready()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [
        "error: cannot install requirements.txt",
        "hint: see pip's message above; PIP_INDEX_URL names another index",
    ]


def test_a_missing_venv_module_names_the_package(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.failing = lambda argv: "venv" in argv
    with pytest.raises(SystemExit) as end:
        bootstrap.ensure_environment()
    assert end.value.code == 7
    assert "apt-get install python3-venv" in capsys.readouterr().err
    assert not any("apt-get" in argv for argv in machine.calls)  # not root: nothing is installed


def test_root_on_debian_gets_the_venv_module_and_is_told(
    machine: Machine,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    machine.failing = lambda argv: "venv" in argv and not any("apt-get" in call for call in machine.calls)
    bootstrap.ensure_environment()
    assert ["apt-get", "update", "-qq"] in machine.calls
    assert "installing python3-venv with apt-get" in capsys.readouterr().err
    assert bootstrap.is_ready()


def test_people_can_bring_their_own_packages(
    machine: Machine, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITONBUILD_NO_VENV", "1")
    bootstrap.ensure_environment()
    assert machine.calls == []
    assert started == []


def test_an_old_python_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as end:
        bootstrap.ensure_environment()
    assert end.value.code == 7
    assert "error: Python 3.9 is too old" in capsys.readouterr().err
