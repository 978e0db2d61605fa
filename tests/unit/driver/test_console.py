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
