"""A client that goes away leaves nothing running."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.metrics import SETTLED_WITHIN, read_metrics
from tests.conformance.streams import Stream
from tests.image.abilities import has
from tests.image.standin import MAX_NUM_SEQS

# Some are on their way when their client goes, and as many three times over wait for their turn.
RUNNING = MAX_NUM_SEQS
REQUESTS, TOKENS = 4 * RUNNING, 230
LONG = json.dumps({"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True})
INPUTS = {"text_input": "The future of AI is", "stream": True, "sampling_parameters": LONG}
COUNTED = ("request_cancellations_total", "generation_tokens_total")
ATTEMPTS = 4


def test_closing_a_stream_cancels_its_requests(fleet: Fleet) -> None:
    if not fleet.spec.abilities["cancellation"]:
        check_that_a_stream_may_end(fleet)
        return
    for _ in range(ATTEMPTS):
        before = read_metrics(fleet)
        logged = fleet.container.logs()
        assert begin_and_leave(fleet) == "StatusCode.CANCELLED"
        cancelled, tokens = wait_until_idle(fleet, before)
        if cancelled >= RUNNING:
            break
        # On a busy machine the model may have said all before its client has seen the beginning.
    assert cancelled >= RUNNING
    assert tokens < REQUESTS * TOKENS
    new = fleet.container.logs()[len(logged) :].decode(errors="replace")
    assert new.count("[vllm] Successfully cancelled the request") == cancelled
    # One that ends by itself while it is being cancelled was not cancelled, and is not counted as such.
    assert new.count("[vllm] Cancelling the request") >= cancelled
    assert fleet.answer("The future of AI is")


def check_that_a_stream_may_end(fleet: Fleet) -> None:
    """What a client of the oldest Triton is told to do instead: closing waits for all answers."""
    before = read_metrics(fleet)
    stream = Stream(fleet.address)
    for _ in range(REQUESTS):
        stream.send("text", INPUTS)
    assert stream.next().error is None
    stream.close()
    assert wait_until_idle(fleet, before) == [0, REQUESTS * TOKENS]
    assert fleet.answer("The future of AI is")


def begin_and_leave(fleet: Fleet) -> str:
    """Close a stream on which some requests have begun; return the status that it ends with."""
    stream = Stream(fleet.address)
    for _ in range(REQUESTS):
        stream.send("text", INPUTS)
    begun: set[str] = set()
    while len(begun) < RUNNING:
        event = stream.next()
        assert event.error is None
        begun.add(event.request_id)
    stream.close(cancel=True)
    while True:
        error = stream.next().error
        if error is not None:
            return str(error.status())


def wait_until_idle(fleet: Fleet, before: Mapping[str, float]) -> list[float]:
    """Return by how much the counters grew once they have stopped to grow and nothing runs."""
    deadline = time.monotonic() + SETTLED_WITHIN
    grown: list[float] = []
    queues = (
        ("num_requests_running", "num_requests_waiting") if has(fleet.spec, "scheduler statistics") else ()
    )
    while time.monotonic() < deadline:
        time.sleep(1)
        now = read_metrics(fleet)
        last, grown = grown, [now[name] - before[name] for name in COUNTED]
        if grown == last and all(now[name] == 0 for name in queues):
            return grown
    pytest.fail(f"still not idle: {grown}")
