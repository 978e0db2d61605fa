"""A client that goes away leaves nothing running."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest

from tests.image.conformance.fleet import Fleet
from tests.image.conformance.metrics import SETTLED_WITHIN, read_metrics
from tests.image.conformance.repository import ENGINE
from tests.image.conformance.streams import Stream

# Some are on their way when their client goes, and as many three times over wait for their turn.
RUNNING = ENGINE["max_num_seqs"]
REQUESTS, TOKENS = 4 * RUNNING, 230
LONG = json.dumps({"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True})
INPUTS = {"text_input": "The future of AI is", "stream": True, "sampling_parameters": LONG}
COUNTED = ("request_cancellations_total", "e2e_request_latency_seconds_count", "generation_tokens_total")


def test_closing_a_stream_cancels_its_requests(fleet: Fleet) -> None:
    before = read_metrics(fleet)
    logged = fleet.container.logs()
    stream = Stream(fleet.address)
    for _ in range(REQUESTS):
        stream.send("text", INPUTS)
    begun: set[str] = set()
    while len(begun) < RUNNING:
        event = stream.next()
        assert event.error is None
        begun.add(event.request_id)
    stream.close(cancel=True)
    statuses = []
    while not statuses:
        error = stream.next().error
        statuses += [] if error is None else [error.status()]
    assert statuses == ["StatusCode.CANCELLED"]

    cancelled, finished, tokens = wait_until_idle(fleet, before)
    assert cancelled >= RUNNING
    assert cancelled + finished <= REQUESTS
    assert tokens < REQUESTS * TOKENS * 3 / 4
    new = fleet.container.logs()[len(logged) :].decode(errors="replace")
    assert new.count("[vllm] Cancelling the request") == cancelled
    assert new.count("[vllm] Successfully cancelled the request") == cancelled
    assert fleet.answer("The future of AI is")


def wait_until_idle(fleet: Fleet, before: Mapping[str, float]) -> list[float]:
    """Return by how much the counters grew once they have stopped to grow and nothing runs."""
    deadline = time.monotonic() + SETTLED_WITHIN
    grown: list[float] = []
    while time.monotonic() < deadline:
        time.sleep(1)
        now = read_metrics(fleet)
        last, grown = grown, [now[name] - before[name] for name in COUNTED]
        if grown == last and now["num_requests_running"] == now["num_requests_waiting"] == 0:
            return grown
    pytest.fail(f"still not idle: {grown}")
