"""Processes that die at once, with requests on their way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from docker.models.images import Image

from tests.soak.stage import MODEL, Process, Stage, stage
from tritonbuild.spec import BuildSpec

WITHIN = 10.0
# More than anybody gets before the kill.
TOKENS = 1900
WAITING: tuple[dict[str, Any], ...] = (
    {"api": "http", "count": 48, "max_tokens": TOKENS},
    {"api": "grpc", "count": 16, "max_tokens": TOKENS},
    {"api": "generate", "count": 32, "max_tokens": TOKENS},
)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="default"),
        pytest.param(["--model-control-mode=explicit", f"--load-model={MODEL}"], id="explicit"),
    ],
)
def test_dead_engine_answers_every_client_with_an_error(
    image: Image, spec: BuildSpec, tmp_path: Path, options: Sequence[str], measured: Callable[[str], None]
) -> None:
    with stage(image, spec, tmp_path, options=options, survives=True) as found:
        assert found.is_ready()
        table = found.table()
        program = found.crowd(*WAITING, patience=60)
        program.wait_for("underway", 60)
        engine = table.engine
        killed = time.monotonic()
        found.kill(engine.pid)
        not_ready = seconds_until(lambda: not found.is_ready(), killed)
        talks = program.wait_for("result", 90)["talks"]
        slowest = max(talk["ended"] for talk in talks) - killed
        measured(
            f"engine killed ({'explicit' if options else 'default'} mode): not ready after {not_ready:.1f} s, "
            f"the last of {len(talks)} clients answered after {slowest:.1f} s, {describe(talks)}"
        )
        assert {talk["state"] for talk in talks} == {"error"}, f"{describe(talks)}\n{found.log()}"
        assert slowest < WITHIN
        assert not_ready < WITHIN, found.log()
        # That was no moment between two states.
        assert not found.is_ready()
        assert_gone(found, [engine, *table.below(engine.pid)], killed)


@pytest.mark.parametrize("victim", ["stub", "server"])
def test_no_engine_outlives_its_stub_or_server(
    image: Image, spec: BuildSpec, tmp_path: Path, victim: str, measured: Callable[[str], None]
) -> None:
    with stage(image, spec, tmp_path, survives=True) as found:
        table = found.table()
        program = found.crowd(*WAITING, patience=30)
        program.wait_for("underway", 60)
        chosen: Process = getattr(table, victim)
        engines = table.below(table.stub.pid)
        assert table.engine in engines
        killed = time.monotonic()
        found.kill(chosen.pid)
        gone = assert_gone(found, [chosen, *engines], killed)
        talks = program.wait_for("result", 90)["talks"]
        slowest = max(talk["ended"] for talk in talks) - killed
        measured(
            f"{victim} killed: its {len(engines)} processes gone after {gone:.1f} s, "
            f"clients ended within {slowest:.1f} s, {describe(talks)}"
        )


def seconds_until(condition: Callable[[], bool], since: float) -> float:
    """Return after how many seconds something held; infinity when that took too long."""
    while time.monotonic() < since + 3 * WITHIN:
        if condition():
            return time.monotonic() - since
        time.sleep(0.1)
    return float("inf")


def assert_gone(found: Stage, processes: Sequence[Process], since: float) -> float:
    """Wait for processes to end; return when the last one had."""
    left: list[Process] = list(processes)
    ends = since + WITHIN
    while left and time.monotonic() < ends:
        time.sleep(0.2)
        running = {process.identity for process in found.table().processes}
        left = [process for process in left if process.identity in running]
    assert not left, f"after {WITHIN} s there are still {left}"
    return time.monotonic() - since


def describe(talks: Sequence[dict[str, Any]]) -> str:
    kinds = Counter((talk["api"], talk["state"], talk["message"]) for talk in talks)
    return "; ".join(f"{count} {' '.join(kind)!r}" for kind, count in sorted(kinds.items()))
