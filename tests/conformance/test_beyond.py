"""What upstream's backend has not: token ids, deadlines, priorities and conversations."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.conformance import streams
from tests.conformance.fleet import Fleet

PROMPT = "The capital of France is"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}
# Longer than any test waits.
ENDLESS: dict[str, Any] = {"temperature": 0, "max_tokens": 230, "ignore_eos": True}


def sampling(**values: Any) -> dict[str, str]:
    return {"sampling_parameters": json.dumps(values)}


def test_token_ids_are_those_of_the_text_and_can_be_continued(fleet: Fleet) -> None:
    told = fleet.infer(PROMPT, **sampling(**GREEDY), exclude_input_in_output=True, return_token_ids=True)
    ids = json.loads(told.last("token_ids")[0])
    text = told.text()
    # One token is one byte.
    (offset,) = {token_id - byte for token_id, byte in zip(ids, text.encode(), strict=True)}
    prompt_ids = [byte + offset for byte in PROMPT.encode()]
    continued = streams.infer(
        fleet.address,
        fleet.model,
        {"input_token_ids": prompt_ids, "return_num_input_tokens": True, **sampling(**GREEDY)},
    )
    assert continued.text() == text
    assert continued.last("num_input_tokens") == [len(PROMPT)]


def test_token_ids_of_a_stream_add_up(fleet: Fleet) -> None:
    whole = fleet.infer(PROMPT, **sampling(**GREEDY), return_token_ids=True)
    streamed = fleet.infer(PROMPT, **sampling(**GREEDY), return_token_ids=True, stream=True)
    parts = [json.loads(ids) for (ids,) in streamed.tensors("token_ids")]
    assert [token_id for part in parts for token_id in part] == json.loads(whole.last("token_ids")[0])


def test_each_sequence_has_its_token_ids(fleet: Fleet) -> None:
    asked = sampling(n=2, temperature=0.8, max_tokens=9, ignore_eos=True)
    answer = fleet.infer(PROMPT, **asked, return_token_ids=True, stream=True)
    for index in range(2):
        assert sum(len(json.loads(ids[index])) for ids in answer.tensors("token_ids")) == 9


@pytest.mark.parametrize("ids", [[-1], [10**6], [2**40]])
def test_token_id_that_the_model_has_not_is_refused(fleet: Fleet, ids: list[int]) -> None:
    wrong = streams.infer(fleet.address, fleet.model, {"input_token_ids": ids})
    assert "token id" in wrong.message().lower()
    assert fleet.answer(PROMPT)


def test_request_ends_at_its_timeout(fleet: Fleet) -> None:
    message = "the request's timeout of 0.05 s passed"
    begun = time.monotonic()
    reply = fleet.ask(PROMPT, **ENDLESS, timeout=50_000)
    assert time.monotonic() - begun < 5
    assert reply.json() == {"error": message}
    for inputs in (
        sampling(**ENDLESS, timeout=50_000),
        {**sampling(**ENDLESS, timeout=50_000), "stream": True},
    ):
        assert fleet.infer(PROMPT, **inputs).message() == message
    # The protocol's own field.
    (late,) = streams.infer_all(
        fleet.address, fleet.model, [{"text_input": PROMPT, **sampling(**ENDLESS)}], timeout=50_000
    )
    assert late.message() == message
    assert len(fleet.answer(PROMPT, **GREEDY, timeout=60_000_000)) == len(PROMPT) + GREEDY["max_tokens"]


def test_priority_is_refused_when_the_engine_does_not_schedule_by_it(fleet: Fleet) -> None:
    message = 'parameter "priority" needs "scheduling_policy": "priority" in model.json'
    assert fleet.infer(PROMPT, **sampling(**GREEDY, priority=3)).message() == message
    assert fleet.ask(PROMPT, priority=3).json() == {"error": message}
    assert fleet.infer(PROMPT, **sampling(**GREEDY, priority=0)).error is None


def test_conversation_needs_a_template(fleet: Fleet) -> None:
    asked = {"messages": json.dumps([{"role": "user", "content": "Hi"}])}
    reply = fleet.post(f"/v2/models/{fleet.model}/generate", asked)
    assert reply.json() == {
        "error": 'input "messages" needs a chat template, and the model has none; use "text_input"'
    }
