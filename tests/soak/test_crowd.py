"""A thousand streams at once, half of which hang up mid-way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.soak.stage import Stage, Table

ROUNDS = 4
HALF = 500
TOKENS = 64
# What those that hang up ask for: more than anybody could wait for, were they not cancelled.
NEVER = 2000
# After how many tokens they do: by then, all have begun.
DROP = (16, 48)
# What the last round may add to a process: noise of allocators, less than the requests of a round would
# take. The one that computes touches parts of its buffers for the first time for many rounds.
GROWTH_KB = 16 << 10
GROWTH_OF_LARGEST_KB = 96 << 10
# Connections that are still being closed.
GROWTH_FILES = 16
PAUSE = 3.0


@pytest.mark.parametrize("api", ["http", "grpc"])
def test_those_who_stay_are_served_and_the_others_leave_nothing(
    shared: Stage, api: str, measured: Callable[[str], None]
) -> None:
    tables: list[Table] = []
    for number in range(1, ROUNDS + 1):
        begun = time.monotonic()
        before = shared.metric("vllm:generation_tokens_total")
        program = shared.crowd(
            {"api": api, "count": HALF, "max_tokens": TOKENS},
            {"api": api, "count": HALF, "max_tokens": NEVER, "drop": DROP},
            seed=number,
        )
        program.wait_for("underway", 240)
        result = program.wait_for("result", 240)
        taken = time.monotonic() - begun
        wrong = [talk for talk in result["talks"] if not is_right(talk)]
        assert not wrong, f"{len(wrong)} went wrong: {wrong[:5]}"
        idle = shared.wait_until_idle()
        generated = shared.metric("vllm:generation_tokens_total") - before
        time.sleep(PAUSE)
        tables.append(shared.table())
        first = max(talk["first_after"] for talk in result["talks"])
        measured(
            f"{api} round {number}: {taken:.1f} s, {result['peak']:.0f} requests in the engine at most, the "
            f"last first token after {first:.1f} s, idle "
            f"{idle:.1f} s after the last answer, {generated:.0f} tokens made, {describe(tables[-1])}"
        )
        assert generated < HALF * (TOKENS + NEVER) / 2, "those who hung up were served on"
    before_last, last = tables[-2:]
    assert [process.identity for process in last.tree] == [process.identity for process in before_last.tree]
    largest = max(last.tree, key=lambda process: process.memory_kb)
    for old, new in zip(before_last.tree, last.tree, strict=True):
        allowed = GROWTH_OF_LARGEST_KB if new is largest else GROWTH_KB
        assert new.memory_kb - old.memory_kb < allowed, f"{describe(before_last)}, then {describe(last)}"
        assert new.files - old.files < GROWTH_FILES, f"{old}, then {new}"
    shared.assert_answers()


def is_right(talk: dict[str, Any]) -> bool:
    if talk["max_tokens"] == TOKENS:
        return bool(talk["state"] == "complete" and talk["tokens"] == TOKENS)
    return bool(talk["state"] == "dropped")


def describe(table: Table) -> str:
    parts = [f"{process.name} {process.memory_kb >> 10}" for process in table.tree]
    total = f"{sum(process.memory_kb for process in table.tree) >> 10} MB ({', '.join(parts)})"
    return (
        f"{total}, {sum(process.files for process in table.tree)} files, /dev/shm {table.shared_kb >> 10} MB"
    )
