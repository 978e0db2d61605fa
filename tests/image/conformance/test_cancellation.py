"""A client that goes away leaves nothing running."""

from __future__ import annotations

import json
import time

from tests.image.conformance.fleet import Fleet
from tests.image.conformance.metrics import read_metrics
from tests.image.conformance.streams import Stream

REQUESTS, TOKENS = 8, 230
LONG = json.dumps({"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True})
INPUTS = {"text_input": "The future of AI is", "stream": True, "sampling_parameters": LONG}


def test_closing_a_stream_cancels_its_requests(fleet: Fleet) -> None:
    before = read_metrics(fleet)
    logged = fleet.container.logs()
    stream = Stream(fleet.address)
    for _ in range(REQUESTS):
        stream.send("text", INPUTS)
    first = stream.next()
    assert first.error is None
    assert not first.final
    stream.close(cancel=True)
    statuses = []
    while not statuses:
        error = stream.next().error
        statuses += [] if error is None else [error.status()]
    assert statuses == ["StatusCode.CANCELLED"]

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        after = read_metrics(fleet)
        if after["request_cancellations_total"] - before["request_cancellations_total"] == REQUESTS:
            break
        time.sleep(0.1)
    assert after["request_cancellations_total"] - before["request_cancellations_total"] == REQUESTS
    assert after["num_requests_running"] == 0
    assert after["generation_tokens_total"] - before["generation_tokens_total"] < REQUESTS * TOKENS
    new = fleet.container.logs()[len(logged) :].decode(errors="replace")
    assert new.count("[vllm] Cancelling the request") == REQUESTS
    assert new.count("[vllm] Successfully cancelled the request") == REQUESTS
    assert fleet.answer("The future of AI is")
