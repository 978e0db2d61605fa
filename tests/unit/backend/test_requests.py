from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from triton_vllm.errors import RequestError
from triton_vllm.requests import EmbedRequest, GenerateRequest, Wanted, parse_request

from .fakes import FakeEngine, Request

FIELDS = FakeEngine().fields


def parse(request: Request, pb_utils: Any) -> GenerateRequest:
    parsed = parse_request(request, pb_utils, FIELDS)
    assert isinstance(parsed, GenerateRequest)
    return parsed


def test_by_default_one_answer_with_the_prompt_before_it(pb_utils: Any) -> None:
    parsed = parse(Request(text_input="Hi"), pb_utils)
    assert parsed.prompt == "Hi"
    assert not parsed.stream
    assert parsed.prepend_input
    assert parsed.wanted == Wanted()


@pytest.mark.parametrize(
    ("stream", "exclude", "prepend"),
    [
        (None, None, True),
        (None, True, False),
        (None, False, True),
        (False, True, False),
        (True, None, False),
        (True, True, False),
    ],
)
def test_when_the_prompt_goes_before_the_answer(
    stream: bool | None, exclude: bool | None, prepend: bool, pb_utils: Any
) -> None:
    given = {"stream": stream, "exclude_input_in_output": exclude}
    inputs = {name: value for name, value in given.items() if value is not None}
    assert parse(Request(text_input="Hi", **inputs), pb_utils).prepend_input is prepend


def test_streaming_with_the_prompt_is_refused_in_the_known_words(pb_utils: Any) -> None:
    request = Request(text_input="Hi", stream=True, exclude_input_in_output=False)
    with pytest.raises(RequestError) as caught:
        parse(request, pb_utils)
    assert str(caught.value) == "When streaming, `exclude_input_in_output` = False is not allowed."


def test_sampling_parameters_come_from_the_tensor_or_else_the_request(pb_utils: Any) -> None:
    text = json.dumps({"temperature": 0.5})
    with_tensor = Request({"temperature": 0.1}, text_input="Hi", sampling_parameters=text)
    assert parse(with_tensor, pb_utils).sampling.values == {"temperature": 0.5}
    assert parse(Request({"temperature": "0.1"}, text_input="Hi"), pb_utils).sampling.values == {
        "temperature": 0.1
    }


def test_what_triton_adds_to_the_parameters_is_left_out(pb_utils: Any) -> None:
    parameters = {
        "id": "7",
        "triton_enable_empty_final_response": True,
        "x-request-id": "a",
        "n": 2,
    }
    assert parse(Request(parameters, text_input="Hi"), pb_utils).sampling.values == {"n": 2}


def test_trace_headers_go_to_the_engine(pb_utils: Any) -> None:
    parsed = parse(Request({"Traceparent": "00-1-2-01"}, text_input="Hi"), pb_utils)
    assert parsed.trace_headers == {"traceparent": "00-1-2-01"}


def test_flags_may_be_parameters_too(pb_utils: Any) -> None:
    parsed = parse(Request({"stream": True, "return_logprobs": "true"}, text_input="Hi"), pb_utils)
    assert parsed.stream
    assert parsed.wanted == Wanted(logprobs=True)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, 'input "text_input" is missing'),
        ({"text_input": ["a", "b"]}, 'input "text_input" must have one element, got 2'),
        (
            {"text_input": np.array([], dtype=object)},
            'input "text_input" must have one element, got 0',
        ),
        ({"text_input": b"a\xff"}, 'input "text_input" is not valid UTF-8: byte 1 is 0xff'),
        (
            {"text_input": "a", "stream": [True, False]},
            'input "stream" must have one element, got 2',
        ),
        (
            {"text_input": "a", "sampling_parameters": '{"n": 1,\n "n" 2}'},
            "input \"sampling_parameters\" is not valid JSON: Expecting ':' delimiter at line 2 column 6",
        ),
        (
            {"text_input": "a", "sampling_parameters": "[]"},
            'input "sampling_parameters" must be a JSON object, not a list',
        ),
        (
            {"text_input": "a", "sampling_parameters": "NaN"},
            'input "sampling_parameters" is not valid JSON: NaN is not a JSON number',
        ),
        (
            {"text_input": "a", "sampling_parameters": "[" * 100_000},
            'input "sampling_parameters" is not valid JSON: nested too deeply',
        ),
        (
            {"text_input": "a", "sampling_parameters": '{"n": 1, "n": 2}'},
            'input "sampling_parameters" has the key "n" twice',
        ),
    ],
)
def test_a_malformed_input_is_named(inputs: dict[str, Any], message: str, pb_utils: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(Request(**inputs), pb_utils, FIELDS)
    assert str(caught.value) == message


def test_an_embedding_request_is_one_whatever_else_is_there(pb_utils: Any) -> None:
    parsed = parse_request(Request(text_input="", embedding_request='{"input": "a"}'), pb_utils, FIELDS)
    assert parsed == EmbedRequest({"input": "a"})


def test_an_embedding_request_says_which_counts_it_wants(pb_utils: Any) -> None:
    """The OpenAI-compatible frontend asks for both, and sends no text."""
    flags = {"return_num_input_tokens": True, "return_num_output_tokens": True}
    parsed = parse_request(Request(embedding_request='{"input": "a"}', **flags), pb_utils, FIELDS)
    assert parsed.wanted == Wanted(num_input_tokens=True, num_output_tokens=True)
