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
# What the last round may add to the memory of all processes: noise of allocators, not of requests.
GROWTH_KB = 24 << 10
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
    second, third = tables[-2:]
    assert memory(third) - memory(second) < GROWTH_KB, (describe(second), describe(third))
    assert files(third) - files(second) < GROWTH_FILES, (describe(second), describe(third))
    assert third.engine.identity == tables[0].engine.identity
    shared.assert_answers()


def is_right(talk: dict[str, Any]) -> bool:
    if talk["max_tokens"] == TOKENS:
        return bool(talk["state"] == "complete" and talk["tokens"] == TOKENS)
    return bool(talk["state"] == "dropped")


def memory(table: Table) -> int:
    return sum(process.memory_kb for process in table.tree)


def files(table: Table) -> int:
    return sum(process.files for process in table.tree)


def describe(table: Table) -> str:
    parts = [f"{process.name} {process.memory_kb >> 10}" for process in table.tree]
    total = f"{memory(table) >> 10} MB ({', '.join(parts)})"
    return f"{total}, {files(table)} files, /dev/shm {table.shared_kb >> 10} MB"
