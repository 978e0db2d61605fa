"""Clients that hang up on a plain request, before its answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.soak.stage import Stage

COUNT = 50
TOKENS = 1900
PATIENCE = 1.0


def test_what_is_left_of_a_plain_request_whose_client_hung_up(
    shared: Stage, measured: Callable[[str], None]
) -> None:
    """Triton 2.49 does not tell backends of it, so that the engine stops early is not asked for."""
    before = shared.metric("vllm:generation_tokens_total")
    group = {"api": "generate", "count": COUNT, "max_tokens": TOKENS, "patience": PATIENCE}
    program = shared.crowd(group)
    program.wait_for("underway", 60)
    talks = program.wait_for("result", 60)["talks"]
    gone = [talk for talk in talks if talk["state"] == "silent"]
    assert len(gone) > COUNT / 2, f"most were answered before they hung up: {talks}"
    begun = time.monotonic()
    shared.wait_until_idle()
    served = sum(talk["tokens"] for talk in talks)
    made = shared.metric("vllm:generation_tokens_total") - before - served
    measured(
        f"hang-up on {len(gone)} plain requests after {PATIENCE} s: idle {time.monotonic() - begun:.1f} s later, "
        f"{made:.0f} of {len(gone) * TOKENS} tokens made for nobody"
    )
    shared.assert_answers()
