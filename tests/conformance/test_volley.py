"""Very many short requests, which end while the backend looks whether their clients are still there.

The server's object behind a request is gone once its last response was sent: asking it then ends the
whole server, not only the request. Last of these tests by its name, as it leaves nothing to ask.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.conformance.fleet import Fleet
from tests.image.serving import PublishedClient

CLIENTS, SECONDS = 4, 8


def volley(fleet: Fleet, model: str, body: dict[str, Any]) -> int:
    """Ask for some seconds from several clients at once; return how often that was answered."""
    assert isinstance(fleet.client, PublishedClient)
    url = fleet.client.url(f"/v2/models/{model}/generate")
    deadline = time.monotonic() + SECONDS

    def ask(_: int) -> int:
        answered = 0
        with requests.Session() as session:
            while time.monotonic() < deadline:
                answer = session.post(url, json=body, timeout=60)
                assert answer.status_code == 200, answer.text
                answered += 1
        return answered

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(ask, range(CLIENTS)))


def test_server_outlives_many_short_texts(fleet: Fleet) -> None:
    assert volley(fleet, "text", {"text_input": "Hi", "parameters": {"max_tokens": 1}}) > 100


@pytest.mark.engine_has("runner")
def test_server_outlives_many_embeddings(fleet: Fleet) -> None:
    assert volley(fleet, "embedding", {"embedding_request": json.dumps({"input": "Hi"})}) > 100
    assert fleet.answer("Hi")
