"""Running other programs, with a stand-in for subprocess.Popen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import process
from tritonbuild.errors import CommandFailed, ToolMissing


class FakeProgram:
    """A program with some output and an exit code; notes how it was started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.output: list[str] = []
        self.code = 0
        self.argv: list[str] = []
        self.options: dict[str, Any] = {}
        self.terminated = False
        monkeypatch.setattr(subprocess, "Popen", self.start)

    def start(self, argv: list[str], **options: Any) -> FakeProgram:
        self.argv, self.options = argv, options
        return self

    @property
    def stdout(self) -> Iterator[str]:
        return iter(self.output)

    def wait(self) -> int:
        return self.code

    def terminate(self) -> None:
        self.terminated = True


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> FakeProgram:
    return FakeProgram(monkeypatch)


def test_run_hands_on_each_line_and_returns_all(program: FakeProgram) -> None:
    program.output = ["one\n", "two [x]\n", "three"]
    seen: list[str] = []
    assert process.run(["tool", "a b"], on_line=seen.append, cwd=Path("somewhere")) == "one\ntwo [x]\nthree"
    assert seen == ["one", "two [x]", "three"]
    assert program.argv == ["tool", "a b"]
    assert program.options["cwd"] == Path("somewhere")
    assert not program.options.get("shell")


def test_run_adds_to_the_environment(program: FakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    process.run(["tool"], env={"ADDED": "2"})
    assert program.options["env"]["KEPT"] == "1"
    assert program.options["env"]["ADDED"] == "2"


def test_nothing_waits_for_a_keyboard(program: FakeProgram) -> None:
    process.run(["tool"])
    assert program.options["stdin"] == subprocess.DEVNULL


def test_a_failed_program_leaves_its_last_lines(program: FakeProgram) -> None:
    program.output = [f"line {n}\n" for n in range(100)]
    program.code = 3
    with pytest.raises(CommandFailed) as failure:
        process.run(["tool", "x"], hint="do this", keep=2)
    assert failure.value.message == "tool x ended with code 3"
    assert failure.value.tail == ("line 98", "line 99")
    assert failure.value.hint == "do this"


def test_a_failure_can_be_given_a_name(program: FakeProgram) -> None:
    program.code = 1
    with pytest.raises(CommandFailed, match=r"^docker build ended with code 1$"):
        process.run(["docker"], what="docker build")


def test_an_interruption_ends_the_program_too(program: FakeProgram) -> None:
    program.output = ["one\n"]

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run(["tool"], on_line=interrupt)
    assert program.terminated


def test_a_missing_tool_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing) as failure:
        process.find_tool("frob", hint="apt-get install frob")
    assert failure.value.message == "frob is not installed or not on PATH"
    assert failure.value.hint == "apt-get install frob"
    (tmp_path / "frob").touch(mode=0o755)
    assert process.find_tool("frob", hint="") == str(tmp_path / "frob")
