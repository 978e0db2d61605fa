"""Each further output comes when it was asked for, and only then."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.streams import Answer

PROMPT = "In this example,"
TOKENS = 5
FLAGS = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")
CHOICES = list(itertools.product([None, False, True], repeat=len(FLAGS)))


@pytest.mark.parametrize("logprobs", [None, 0, 2])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_every_combination_of_flags(fleet: Fleet, stream: bool, logprobs: int | None) -> None:
    sampling = {"temperature": 0, "max_tokens": TOKENS} | ({} if logprobs is None else {"logprobs": logprobs})
    inputs = {"text_input": PROMPT, "stream": stream, "exclude_input_in_output": True}
    requests = [
        {
            **inputs,
            "sampling_parameters": json.dumps(sampling),
            **{f"return_{name}": flag for name, flag in zip(FLAGS, flags, strict=True) if flag is not None},
        }
        for flags in CHOICES
    ]
    answers = fleet.infer_all(requests)
    assert len({answer.text() for answer in answers}) == 1
    for flags, answer in zip(CHOICES, answers, strict=True):
        assert len(answer.text()) == TOKENS
        wanted = {name for name, flag in zip(FLAGS, flags, strict=True) if flag}
        for response in answer.responses:
            names = {output.name for output in response.get_response().outputs}
            assert names == {"text_output", *wanted}
        for name in wanted:
            CHECKS[name](answer, logprobs)


def check_finish_reason(answer: Answer, _: int | None) -> None:
    *before, last = answer.tensors("finish_reason")
    assert last == ["length"]
    assert all(reason == ["None"] for reason in before)


def check_cumulative_logprob(answer: Answer, _: int | None) -> None:
    values = [value for (value,) in answer.tensors("cumulative_logprob")]
    assert all(math.isfinite(value) and value < 0 for value in values)
    # Every token makes a text less likely.
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


def check_logprobs(answer: Answer, logprobs: int | None) -> None:
    texts = [text for (text,) in answer.tensors("logprobs")]
    if logprobs is None:
        assert set(texts) == {"null"}
        return
    positions = [position for text in texts for position in json.loads(text)]
    assert len(positions) == TOKENS
    best = [min(position.values(), key=lambda entry: entry["rank"]) for position in positions]
    assert "".join(entry["decoded_token"] for entry in best) == answer.text()
    assert {entry["rank"] for entry in best} == {1}
    for position in positions:
        assert max(1, logprobs) <= len(position) <= logprobs + 1
        assert all(set(entry) == {"logprob", "rank", "decoded_token"} for entry in position.values())


def check_num_input_tokens(answer: Answer, _: int | None) -> None:
    assert {tuple(value) for value in answer.tensors("num_input_tokens")} == {(len(PROMPT),)}


def check_num_output_tokens(answer: Answer, _: int | None) -> None:
    counts = [count for (count,) in answer.tensors("num_output_tokens")]
    assert sum(counts) == TOKENS
    assert [len(text) for text in answer.texts()] == counts


CHECKS = {
    "finish_reason": check_finish_reason,
    "cumulative_logprob": check_cumulative_logprob,
    "logprobs": check_logprobs,
    "num_input_tokens": check_num_input_tokens,
    "num_output_tokens": check_num_output_tokens,
}


def test_sum_of_logprobs_is_the_cumulative_logprob(fleet: Fleet) -> None:
    sampling = json.dumps({"temperature": 0, "max_tokens": TOKENS, "logprobs": 0})
    flags = {"return_logprobs": True, "return_cumulative_logprob": True}
    answer = fleet.infer(PROMPT, sampling_parameters=sampling, **flags)
    positions = json.loads(answer.last("logprobs")[0])
    total = sum(entry["logprob"] for position in positions for entry in position.values())
    assert answer.last("cumulative_logprob") == pytest.approx([total], abs=1e-4)


def test_flags_work_over_http(fleet: Fleet) -> None:
    flags = {f"return_{name}": True for name in FLAGS}
    reply = fleet.ask(PROMPT, inputs=flags, max_tokens=TOKENS, logprobs=1)
    assert reply.status == 200, reply.text
    answer = reply.json()
    assert set(answer) == {"model_name", "model_version", "text_output", *FLAGS}
    assert answer["finish_reason"] == "length"
    assert (answer["num_input_tokens"], answer["num_output_tokens"]) == (len(PROMPT), TOKENS)
    assert answer["cumulative_logprob"] < 0
    assert len(json.loads(answer["logprobs"])) == TOKENS


def test_flags_work_in_a_stream_over_http(fleet: Fleet) -> None:
    flags: dict[str, Any] = {"return_finish_reason": True, "return_num_output_tokens": True}
    events = fleet.ask(PROMPT, stream=True, inputs=flags, max_tokens=TOKENS).events()
    assert [event["finish_reason"] for event in events] == ["None"] * (len(events) - 1) + ["length"]
    assert sum(event["num_output_tokens"] for event in events) == TOKENS


def test_stop_is_a_reason_to_finish(fleet: Fleet) -> None:
    whole = fleet.answer(PROMPT, inputs={"exclude_input_in_output": True}, max_tokens=TOKENS)
    stop = whole[-1]
    sampling = json.dumps({"temperature": 0, "max_tokens": TOKENS, "stop": [stop]})
    answer = fleet.infer(
        PROMPT, exclude_input_in_output=True, return_finish_reason=True, sampling_parameters=sampling
    )
    assert answer.last("finish_reason") == ["stop"]
    assert answer.text() == whole.partition(stop)[0]
