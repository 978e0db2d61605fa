"""Several rows at a time, with stand-ins for the build of one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tritonbuild import batch
from tritonbuild.batch import Outcome, build_rows
from tritonbuild.console import Console
from tritonbuild.errors import CommandFailed, SmokeFailed
from tritonbuild.pipeline import BuildOptions, BuildResult
from tritonbuild.spec import BuildSpec

# The first three have the same vLLM, base and model; the last two have each their own.
CPU = ["24.07-cpu-pypi", "24.08-cpu-pypi", "24.09-cpu-pypi"]
CUDA = ["24.07-cuda-pypi", "24.10-cuda-pypi"]
SECONDS = 10  # far more than any of these tests takes

Run = Callable[..., list[Outcome]]


class Builds:
    """Stands in for the build of one row: notes what is at work, and does what a test says."""

    def __init__(self, result_of: Callable[..., BuildResult]) -> None:
        self._result_of = result_of
        self._lock = threading.Lock()
        self.events: list[str] = []
        self.at_work: set[str] = set()
        self.most_at_work = 0
        self.before_layers: dict[str, Callable[[], object]] = {}
        self.after_layers: dict[str, Callable[[], object]] = {}
        self.consoles: dict[str, Console] = {}
        self.reused: set[str] = set()

    def __call__(
        self, spec: BuildSpec, options: BuildOptions, console: Console, *, built: Callable[[], None]
    ) -> BuildResult:
        row = str(spec.row)
        with self._lock:
            self.events.append(f"start {row}")
            self.at_work.add(row)
            self.most_at_work = max(self.most_at_work, len(self.at_work))
            self.consoles[row] = console
        try:
            with console.step("build", f"{row}: build the image"):
                self.before_layers.get(row, lambda: None)()
            self.events.append(f"layers {row}")
            built()
            with console.step("smoke", f"{row}: smoke tests"):
                self.after_layers.get(row, lambda: None)()
        finally:
            with self._lock:
                self.at_work.discard(row)
        return self._result_of(spec, reused=row in self.reused, seconds=dict(console.seconds))


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, result_of: Callable[..., BuildResult]) -> Builds:
    stand_in = Builds(result_of)
    monkeypatch.setattr(batch, "build_row", stand_in)
    return stand_in


@pytest.fixture
def run(builds: Builds, spec_of: Callable[[str], BuildSpec]) -> Run:
    """A function that builds rows, by their names."""

    def start(rows: Sequence[str], *, jobs: int = 1, console: Console | None = None) -> list[Outcome]:
        specs = [spec_of(row) for row in rows]
        return build_rows(specs, BuildOptions(), console or Console(quiet=True), jobs=jobs)

    return start


def _endings(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.ending for outcome in outcomes]


def test_rows_share_what_they_have_in_common(spec_of: Callable[[str], BuildSpec]) -> None:
    """What the tests below rest on."""
    assert len({spec_of(row).sharing for row in CPU}) == 1
    assert len({spec_of(row).sharing for row in [CPU[0], *CUDA]}) == 3


def test_one_job_builds_one_row_after_the_other(builds: Builds, run: Run) -> None:
    outcomes = run([*CUDA, *CPU], jobs=1)
    assert builds.most_at_work == 1
    assert [event for event in builds.events if "start" in event] == [f"start {row}" for row in [*CUDA, *CPU]]
    assert [str(outcome.spec.row) for outcome in outcomes] == [*CUDA, *CPU]
    assert set(_endings(outcomes)) == {"built"}


def test_jobs_bound_how_many_rows_are_at_work(builds: Builds, run: Run) -> None:
    both = threading.Barrier(2)
    builds.before_layers = {row: lambda: both.wait(SECONDS) for row in CUDA}  # passes only where two meet
    assert set(_endings(run([*CUDA, *CPU], jobs=2))) == {"built"}
    assert builds.most_at_work == 2


def test_rows_of_one_engine_wait_until_the_first_has_their_layers(builds: Builds, run: Run) -> None:
    other_row = threading.Event()
    builds.before_layers[CPU[0]] = lambda: other_row.wait(SECONDS)
    builds.before_layers[CUDA[0]] = other_row.set
    run([*CPU, CUDA[0]], jobs=4)
    first = builds.events.index(f"layers {CPU[0]}")
    assert builds.events.index(f"start {CUDA[0]}") < first  # it has another engine, and need not wait
    for row in CPU[1:]:
        assert builds.events.index(f"start {row}") > first


def test_the_others_do_not_wait_for_the_proof_of_the_first(builds: Builds, run: Run) -> None:
    together = threading.Barrier(3)
    builds.after_layers = {row: lambda: together.wait(SECONDS) for row in CPU}
    assert set(_endings(run(CPU, jobs=3))) == {"built"}


def test_where_the_first_fails_before_its_layers_the_next_goes_first(builds: Builds, run: Run) -> None:
    def fail() -> None:
        raise CommandFailed("docker build ended with code 1")  # noqa: EM101

    builds.before_layers[CPU[0]] = fail
    outcomes = run(CPU, jobs=3)
    assert _endings(outcomes) == ["failed", "built", "built"]
    second, third = (event.split()[1] for event in builds.events if "start" in event and CPU[0] not in event)
    assert builds.events.index(f"start {third}") > builds.events.index(f"layers {second}")


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_failed_row_stops_no_other_and_says_where_it_failed(
    builds: Builds, run: Run, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = SmokeFailed("1 of 12 smoke tests failed", hint="see the log")

    def fail() -> None:
        raise failure

    def crash() -> None:
        raise ZeroDivisionError("by zero")  # noqa: EM101

    builds.after_layers[CPU[1]] = fail
    builds.before_layers[CUDA[0]] = crash
    outcomes = run([*CPU, *CUDA], jobs=jobs)
    assert _endings(outcomes) == ["built", "failed", "built", "failed", "built"]
    assert (outcomes[1].stage, outcomes[1].error, outcomes[1].result) == ("smoke", failure, None)
    assert (outcomes[3].stage, type(outcomes[3].error)) == ("build", ZeroDivisionError)
    err = capsys.readouterr().err
    assert f"error: {CPU[1]}: 1 of 12 smoke tests failed\nhint: see the log\n" in err
    assert f"error: {CUDA[0]}: unexpected ZeroDivisionError: by zero\n" in err


def test_the_failure_of_a_single_row_is_left_to_the_caller(
    builds: Builds, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise SmokeFailed("it failed")  # noqa: EM101

    builds.after_layers[CPU[0]] = fail
    assert _endings(run(CPU[:1])) == ["failed"]
    assert capsys.readouterr().err == ""


def test_a_row_whose_image_was_there_is_reused(builds: Builds, run: Run) -> None:
    builds.reused.add(CPU[1])
    assert _endings(run(CPU)) == ["built", "reused", "built"]


def test_each_row_has_its_own_clock_and_names_itself(
    builds: Builds, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(verbose=True)
    outcomes = run(CPU[:2], jobs=2, console=console)
    assert console.seconds == {}
    assert all(set(outcome.seconds) == {"build", "smoke"} for outcome in outcomes)
    for row in CPU[:2]:
        own = builds.consoles[row]
        with own.step("build", "x") as step:
            step.milestone("a detail")
        assert f"    {row} a detail\n" in capsys.readouterr().err


def test_time_that_proves_or_waits_is_not_what_a_further_row_costs(spec_of: Callable[..., BuildSpec]) -> None:
    seconds = {"check": 0.5, "build": 6.0, "inspect": 2.0, "wait": 100.0, "smoke": 200.0, "tag": 0.5}
    outcome = Outcome(spec=spec_of(CPU[0]), ending="built", elapsed=309.0, seconds=seconds)
    assert outcome.own_seconds == 9.0


# --- Ctrl-C -------------------------------------------------------------------------------


def press_ctrl_c() -> None:
    """Send what a terminal sends; it arrives where the rows are waited for."""
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_what_runs_starts_nothing_more_and_keeps_what_is_done(builds: Builds, run: Run) -> None:
    console = Console(quiet=True)

    def work_until_told() -> None:
        press_ctrl_c()
        told = threading.Event()
        while not console.children.stopping:
            told.wait(0.001)
        console.children.check()

    builds.before_layers[CPU[1]] = work_until_told
    outcomes = run([CUDA[0], *CPU], jobs=1, console=console)
    assert _endings(outcomes) == ["built", "built", "interrupted", "not started"]
    assert outcomes[2].stage == "build"
    assert f"start {CPU[2]}" not in builds.events


def test_ctrl_c_comes_to_the_programs_of_every_row(
    builds: Builds, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(quiet=True)
    both = threading.Barrier(2, action=press_ctrl_c)
    told: dict[str, threading.Event] = {row: threading.Event() for row in CUDA}

    def program(row: str) -> Callable[[], object]:
        def work() -> None:
            process: Any = type("Process", (), {"pid": row})()
            console.children.add(process)
            both.wait(SECONDS)
            assert told[row].wait(SECONDS)
            console.children.discard(process)
            console.children.check()

        return work

    monkeypatch.setattr(os, "killpg", lambda row, _: told[row].set())
    builds.before_layers = {row: program(row) for row in CUDA}
    assert _endings(run(CUDA, jobs=2, console=console)) == ["interrupted", "interrupted"]


def test_a_second_ctrl_c_ends_at_once(builds: Builds, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(quiet=True)
    forever = threading.Event()
    killed: list[int] = []

    def stop() -> None:
        console.children.stopping = True
        raise KeyboardInterrupt

    def hang() -> None:
        press_ctrl_c()
        forever.wait(SECONDS)

    monkeypatch.setattr(console.children, "stop", stop)
    monkeypatch.setattr(console.children, "kill", lambda: killed.append(1))
    builds.before_layers[CPU[0]] = hang
    assert _endings(run(CPU, console=console)) == ["not started"] * 3
    assert killed == [1]
    forever.set()
