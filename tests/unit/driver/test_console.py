"""What is shown where: results on stdout, progress and errors on stderr, everything in the log."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tritonbuild.console import Console
from tritonbuild.errors import BuildError, CommandFailed, MatrixError

Capture = pytest.CaptureFixture[str]


def test_results_go_to_stdout_as_they_are(capsys: Capture) -> None:
    text = "[bold]not markup[/] :smile: " + "x" * 300
    Console().result(text)
    assert capsys.readouterr() == (text + "\n", "")


def test_progress_goes_to_stderr(capsys: Capture) -> None:
    Console().info("working on [x] :smile:")
    assert capsys.readouterr() == ("", "working on [x] :smile:\n")


def test_an_error_is_one_line_and_a_hint(capsys: Capture) -> None:
    Console().error(BuildError("it [broke] " + "x" * 200, hint="mend [it]"))
    assert capsys.readouterr().err == f"error: it [broke] {'x' * 200}\nhint: mend [it]\n"


def test_an_error_without_hint_has_none(capsys: Capture) -> None:
    Console(quiet=True).error(BuildError("it broke"))
    assert capsys.readouterr().err == "error: it broke\n"


def test_each_of_several_problems_gets_a_line(capsys: Capture) -> None:
    Console().error(MatrixError("one\ntwo", hint="correct them"))
    assert capsys.readouterr().err == "error: one\nerror: two\nhint: correct them\n"


def test_a_failed_program_shows_its_last_lines(capsys: Capture) -> None:
    Console().error(CommandFailed("tool ended with code 1", tail=["last [words]"]))
    assert capsys.readouterr().err == "    last [words]\nerror: tool ended with code 1\n"


def test_a_stage_says_how_it_ended_and_how_long_it_took(capsys: Capture) -> None:
    console = Console()
    with console.step("build", "build x") as step:
        step.outcome = "abc"
    with console.step("build", "build y"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "==> build x"
    assert lines[1].startswith("ok build x: abc (0.")
    assert lines[3].startswith("ok build y: done (0.")
    assert list(console.seconds) == ["build"]


@pytest.mark.parametrize(
    ("error", "ending"), [(KeyboardInterrupt(), "interrupted"), (BuildError("x"), "failed")]
)
def test_a_stage_that_did_not_end_well_says_so(capsys: Capture, error: BaseException, ending: str) -> None:
    with pytest.raises(type(error)), Console().step("build", "build x"):
        raise error
    assert f"-- build x: {ending} (" in capsys.readouterr().err


def test_ci_gets_milestones_and_the_log_gets_everything(capsys: Capture) -> None:
    console = Console(log_stream=io.StringIO())
    with console.step("build", "build x") as step:
        step.note("a detail")
        step.milestone("a milestone")
    err = capsys.readouterr().err
    assert "a milestone" in err
    assert "a detail" not in err
    assert isinstance(console.log_stream, io.StringIO)
    log = console.log_stream.getvalue()
    assert "a detail" in log
    assert "a milestone" in log
    assert "==> build x" in log


def test_verbose_shows_details(capsys: Capture) -> None:
    with Console(verbose=True).step("build", "build x") as step:
        step.note("a detail")
    assert "a detail" in capsys.readouterr().err


def test_quiet_shows_warnings_and_errors_only(capsys: Capture) -> None:
    console = Console(quiet=True)
    with console.step("build", "build x") as step:
        step.milestone("a milestone")
    console.info("news")
    console.warn("careful")
    assert capsys.readouterr() == ("", "warning: careful\n")


def test_errors_are_in_the_log_too(tmp_path: Path) -> None:
    console = Console()
    with pytest.raises(BuildError), console.logging_to(tmp_path / "log"):
        raise BuildError("it broke")  # noqa: EM101
    assert (tmp_path / "log").read_text(encoding="utf-8") == "error: it broke\n"


def test_a_crash_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Console().logging_to(tmp_path / "log"):
        raise ZeroDivisionError
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert text.startswith("Traceback")
    assert "ZeroDivisionError" in text


def test_nothing_starts_once_all_is_to_end(capsys: Capture) -> None:
    console = Console()
    console.children.stop()
    with pytest.raises(KeyboardInterrupt), console.for_row("24.08-cpu-pypi").step("build", "build x"):
        pytest.fail("the stage ran")
    assert "-- build x: interrupted (" in capsys.readouterr().err


def test_each_row_has_its_own_log_and_clock(tmp_path: Path) -> None:
    console = Console(quiet=True)
    rows = [console.for_row("a"), console.for_row("b")]
    with rows[0].logging_to(tmp_path / "a"), rows[1].logging_to(tmp_path / "b"):
        for row in rows:
            with row.step("build", f"build {row.prefix}") as step:
                step.note(f"a note of {row.prefix}")
    for name in ("a", "b"):
        assert [
            line for line in (tmp_path / name).read_text(encoding="utf-8").splitlines() if "note" in line
        ] == [f"    a note of {name} "]
    assert [list(row.seconds) for row in (console, *rows)] == [[], ["build"], ["build"]]


def test_lines_of_several_rows_say_whose_they_are(capsys: Capture) -> None:
    row = Console().for_row("24.08-cpu-pypi")
    with row.step("build", "24.08-cpu-pypi: build") as step:
        step.milestone("[python 2/2] 31 s")
    row.error(CommandFailed("tool ended with code 1", tail=["its last words"], hint="look"))
    row.error(BuildError("24.08-cpu-pypi: it broke"))
    err = capsys.readouterr().err
    assert "    24.08-cpu-pypi [python 2/2] 31 s\n" in err
    assert (
        "    24.08-cpu-pypi its last words\nerror: 24.08-cpu-pypi: tool ended with code 1\nhint: look\n"
        in err
    )
    assert "error: 24.08-cpu-pypi: it broke\n" in err


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console on a terminal, whose screen is a string."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console = Console()
    assert console.live
    return console


def test_a_terminal_shows_all_stages_that_run_at_the_same_time(terminal: Console, capsys: Capture) -> None:
    with terminal.board() as show:
        show("1 of 2 rows done")
        rows = [terminal.for_row("a"), terminal.for_row("b")]
        with rows[0].step("build", "a: build") as first, rows[1].step("build", "b: build") as second:
            first.note("compiles [x]")
            second.note("downloads")
            assert first.progress is second.progress
            assert first.progress
            shown = {(task.description, task.fields["detail"]) for task in first.progress.tasks}
            assert shown == {
                ("1 of 2 rows done", ""),
                ("a: build", "compiles \\[x]"),
                ("b: build", "downloads"),
            }
        assert [task.description for task in first.progress.tasks] == ["1 of 2 rows done"]
    err = capsys.readouterr().err
    assert "a: build: done" in err
    assert "b: build: done" in err
    with terminal.step("tag", "alone") as step:
        assert step.progress is not first.progress
