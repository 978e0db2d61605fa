"""The table, the JSON and the exit of many rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tritonbuild.batch import Outcome
from tritonbuild.errors import BuildError, CommandFailed, OverBudget, RowsFailed, SmokeFailed
from tritonbuild.overview import Overview, find_failure, make_overview, overview_table
from tritonbuild.pipeline import BuildResult
from tritonbuild.spec import BuildSpec

MB = 1_000_000
SHARED = {"sha256:base": 180 * MB, "sha256:python": 1850 * MB, "sha256:model": 273 * MB}
SECONDS = {"build": 60.0, "inspect": 2.5, "smoke": 200.0}

OutcomeOf = Callable[..., Outcome]


@pytest.fixture
def outcome_of(spec_of: Callable[[str], BuildSpec], result_of: Callable[..., BuildResult]) -> OutcomeOf:
    """A function that returns the outcome of a row whose own layers take ``own`` MB."""

    def outcome(row: str, *, own: int = 110, layers: dict[str, int] | None = None, **changes: Any) -> Outcome:
        spec = spec_of(row)
        found = layers if layers is not None else {**SHARED, f"sha256:{row}": own * MB}
        result = result_of(
            spec, tags=(f"tritonserver:{row}",), layers=found, size=sum(found.values()), seconds=SECONDS
        )
        values = {"ending": "built", "elapsed": 300.25, "seconds": SECONDS, "result": result}
        return Outcome(spec=spec, **{**values, **changes})

    return outcome


@pytest.fixture
def failed(spec_of: Callable[[str], BuildSpec]) -> Callable[[str, Exception], Outcome]:
    def outcome(row: str, error: Exception) -> Outcome:
        seconds = {"build": 5.0}
        return Outcome(
            spec=spec_of(row), ending="failed", stage="build", elapsed=5.0, seconds=seconds, error=error
        )

    return outcome


def _log_of(spec: BuildSpec) -> Path:
    return Path("out") / spec.name / "build.log"


def _overview(*outcomes: Outcome, **options: Any) -> Overview:
    return make_overview(outcomes, jobs=2, seconds=400.0, log_of=_log_of, **options)


def _text(overview: Overview) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(overview_table(overview))
    return capture.get()


def test_layers_that_rows_share_are_counted_for_the_first_one(outcome_of: OutcomeOf) -> None:
    overview = _overview(
        outcome_of("24.07-cpu-pypi"), outcome_of("24.08-cpu-pypi", own=111), outcome_of("24.09-cpu-pypi")
    )
    assert [line.size for line in overview.lines] == [2413 * MB, 2414 * MB, 2413 * MB]
    assert [line.marginal_size for line in overview.lines] == [2413 * MB, 111 * MB, 110 * MB]
    assert overview.totals["size"] == (2413 + 111 + 110) * MB


def test_a_row_of_another_engine_shares_its_base_only(outcome_of: OutcomeOf) -> None:
    other = {"sha256:base": 180 * MB, "sha256:python of cuda": 7000 * MB}
    overview = _overview(outcome_of("24.07-cpu-pypi"), outcome_of("24.07-cuda-pypi", layers=other))
    assert [line.marginal_size for line in overview.lines] == [2413 * MB, 7000 * MB]


def test_a_row_costs_its_own_stages_without_the_proof(outcome_of: OutcomeOf) -> None:
    line = _overview(outcome_of("24.07-cpu-pypi")).lines[0]
    assert (line.seconds, line.marginal_seconds) == (300.2, 62.5)
    assert line.stages == SECONDS


def test_what_was_measured_compressed_is_counted_in_the_same_way(outcome_of: OutcomeOf) -> None:
    outcomes = [outcome_of("24.07-cpu-pypi"), outcome_of("24.08-cpu-pypi")]
    assert "gzip" not in _text(_overview(*outcomes))
    compressed = {
        outcomes[0].spec.row: {"sha256:base": 60 * MB, "sha256:a": 30 * MB},
        outcomes[1].spec.row: {"sha256:base": 60 * MB, "sha256:b": 31 * MB},
    }
    overview = _overview(*outcomes, compressed=compressed)
    assert [line.compressed_size for line in overview.lines] == [90 * MB, 91 * MB]
    assert [line.marginal_compressed_size for line in overview.lines] == [90 * MB, 31 * MB]
    assert overview.totals["compressed_size"] == 121 * MB
    assert re.search(r"gzip MB +\+gzip MB", _text(overview))


def test_the_table_has_a_line_for_each_row_and_the_totals(outcome_of: OutcomeOf, failed: Any) -> None:
    reused = outcome_of("24.09-cpu-pypi", ending="reused")
    overview = _overview(outcome_of("24.07-cpu-pypi"), failed("24.08-cpu-pypi", SmokeFailed("x")), reused)
    lines = [re.split(r"  +", line.strip()) for line in _text(overview).splitlines() if line.strip()]
    assert lines == [
        ["row", "result", "s", "+s", "MB", "+MB", "tests", "image"],
        ["24.07-cpu-pypi", "built", "300.2", "62.5", "2413", "2413", "12 passed, 1 skipped", "tritonserver:24.07-cpu-pypi"],
        ["24.08-cpu-pypi", "failed at build", "5.0", "5.0", "-", "-", "-", "-"],
        ["24.09-cpu-pypi", "reused", "300.2", "62.5", "2413", "110", "12 passed, 1 skipped", "tritonserver:24.09-cpu-pypi"],
        ["3 rows", "1 built, 1 failed, 1 reused", "400", "130.0", "2523", "24 passed, 2 skipped"],
    ]  # fmt: skip


def test_programs_get_the_same_as_json(outcome_of: OutcomeOf, failed: Any) -> None:
    overview = _overview(outcome_of("24.07-cpu-pypi"), failed("24.08-cpu-pypi", OverBudget("too large")))
    report = json.loads(json.dumps(overview.as_json()))
    built, broken = report["rows"]
    assert built["row"] == "24.07-cpu-pypi"
    assert built["image"] == "tritonserver:24.07-cpu-pypi"
    assert (built["tests_passed"], built["tests_skipped"], built["exit_code"]) == (12, 1, 0)
    assert (broken["result"], broken["stage"]) == ("failed", "build")
    assert (broken["error"], broken["exit_code"]) == ("too large", 12)
    assert (broken["size"], broken["image"]) == (None, None)
    assert broken["log"] == "out/24.08-cpu-pypi/build.log"
    assert report["totals"]["results"] == {"built": 1, "failed": 1}
    assert report["jobs"] == 2


def test_rows_without_an_image_have_no_sizes_and_no_sum(failed: Any) -> None:
    overview = _overview(failed("24.07-cpu-pypi", SmokeFailed("x")))
    assert overview.totals["size"] is None
    assert overview.totals["tests_passed"] is None


# --- how a call ends ----------------------------------------------------------------------


def test_without_a_failure_there_is_nothing_to_raise(outcome_of: OutcomeOf) -> None:
    assert find_failure([outcome_of("24.07-cpu-pypi")]) is None


def test_a_single_row_ends_with_its_own_failure(failed: Any) -> None:
    error = CommandFailed("docker build ended with code 1", tail=["last"])
    assert find_failure([failed("24.07-cpu-pypi", error)]) is error


def test_failures_of_one_kind_keep_their_exit_code(outcome_of: OutcomeOf, failed: Any) -> None:
    failure = find_failure(
        [
            outcome_of("24.07-cpu-pypi"),
            failed("24.08-cpu-pypi", SmokeFailed("x")),
            failed("24.09-cpu-pypi", SmokeFailed("y")),
        ]
    )
    assert isinstance(failure, SmokeFailed)
    assert failure.message == "2 of 3 rows failed: 24.08-cpu-pypi, 24.09-cpu-pypi"
    assert "build.log" in str(failure.hint)


def test_failures_of_several_kinds_have_a_code_of_their_own(failed: Any) -> None:
    failure = find_failure(
        [failed("24.08-cpu-pypi", SmokeFailed("x")), failed("24.09-cpu-pypi", OverBudget("y"))]
    )
    assert type(failure) is RowsFailed


def test_a_crash_is_a_kind_of_its_own(failed: Any) -> None:
    crash, failure = failed("24.08-cpu-pypi", ZeroDivisionError()), failed("24.09-cpu-pypi", SmokeFailed("x"))
    assert type(find_failure([crash, crash])) is BuildError
    assert type(find_failure([crash, failure])) is RowsFailed
