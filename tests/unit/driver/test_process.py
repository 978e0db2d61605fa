"""Running other programs, with a stand-in for subprocess.Popen."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
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
        self.pid = 4711
        self.ends_when_asked = True
        self.signals: list[int] = []
        monkeypatch.setattr(subprocess, "Popen", self.start)
        monkeypatch.setattr(os, "killpg", self.killpg)

    def start(self, argv: list[str], **options: Any) -> FakeProgram:
        self.argv, self.options = argv, options
        return self

    @property
    def stdout(self) -> io.StringIO:
        return io.StringIO("".join(self.output))

    def wait(self) -> int:
        return self.code

    def communicate(self, *, timeout: float) -> tuple[str, None]:
        if not self.ends_when_asked:
            raise subprocess.TimeoutExpired(self.argv, timeout)
        return "", None

    def killpg(self, group: int, number: int) -> None:
        assert group == self.pid
        self.signals.append(number)


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


@pytest.mark.parametrize("ends_when_asked", [True, False])
def test_an_interruption_lets_the_program_tidy_up_and_ends_it(
    program: FakeProgram, ends_when_asked: bool
) -> None:
    program.output = ["one\n"]
    program.ends_when_asked = ends_when_asked

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run(["tool"], on_line=interrupt)
    assert program.signals == [signal.SIGINT, signal.SIGKILL]


def test_the_terminal_interrupts_us_alone(program: FakeProgram) -> None:
    """A second SIGINT would end pytest in the middle of removing its containers."""
    process.run(["tool"])
    assert program.options["start_new_session"]


def test_children_that_are_told_to_stop_end_as_interrupted(program: FakeProgram) -> None:
    children = process.Children()
    program.output = ["one\n", "two\n"]
    program.code = 130
    seen: list[str] = []

    def stop(line: str) -> None:
        seen.append(line)
        if line == "one":
            thread = threading.Thread(target=children.stop)
            thread.start()
            started.append(thread)

    started: list[threading.Thread] = []
    with pytest.raises(KeyboardInterrupt):
        process.run(["tool"], on_line=stop, children=children)
    started[0].join()
    assert program.signals == [signal.SIGINT]
    assert seen == ["one", "two"]  # what it says while it ends is in the log as well


def test_nothing_starts_after_the_stop(program: FakeProgram) -> None:
    children = process.Children()
    children.stop()
    with pytest.raises(KeyboardInterrupt):
        process.run(["tool"], children=children)
    assert program.argv == []


def test_children_that_do_not_end_in_time_are_killed(
    program: FakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.01)
    children = process.Children()
    program.output = ["one\n"]
    with pytest.raises(KeyboardInterrupt):
        process.run(["tool"], on_line=lambda _: children.stop(), children=children)
    assert program.signals == [signal.SIGINT, signal.SIGKILL]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_or_a_lost_terminal_is_an_interruption(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), process.signals_interrupt():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


def test_nohup_keeps_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.signals_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_missing_tool_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing) as failure:
        process.find_tool("frob", hint="apt-get install frob")
    assert failure.value.message == "frob is not installed or not on PATH"
    assert failure.value.hint == "apt-get install frob"
    (tmp_path / "frob").touch(mode=0o755)
    assert process.find_tool("frob", hint="") == str(tmp_path / "frob")
