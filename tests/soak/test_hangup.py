"""Clients that hang up on a plain request, before its answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.soak.stage import Stage

COUNT = 50
TOKENS = 1000
PATIENCE = 1.0


def test_what_is_left_of_a_plain_request_whose_client_hung_up(
    shared: Stage, measured: Callable[[str], None]
) -> None:
    """Triton 2.49 does not tell backends of it, so that the engine stops early is not asked for."""
    before = shared.metric("vllm:generation_tokens_total")
    group = {"api": "generate", "count": COUNT, "max_tokens": TOKENS, "patience": PATIENCE}
    program = shared.crowd(group)
    program.wait_for("underway", 60)
    result = program.wait_for("result", 60)
    assert {talk["state"] for talk in result["talks"]} == {"silent"}, "there was nothing to hang up on"
    begun = time.monotonic()
    shared.wait_until_idle()
    made = shared.metric("vllm:generation_tokens_total") - before
    measured(
        f"hang-up on {COUNT} plain requests after {PATIENCE} s: idle {time.monotonic() - begun:.1f} s later, "
        f"{made:.0f} of {COUNT * TOKENS} tokens made for nobody"
    )
    shared.assert_answers()
