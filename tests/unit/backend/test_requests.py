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


def test_a_conversation_or_token_ids_take_the_place_of_the_text(pb_utils: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}]},
    ]
    parsed = parse(Request(messages=json.dumps(messages)), pb_utils)
    assert parsed.messages == (messages[0], {"role": "user", "content": "Hi!"})
    parsed = parse(Request(text_input="", input_token_ids=np.array([[5, 6]])), pb_utils)
    assert parsed.token_ids == (5, 6)
    assert (parsed.prompt, parsed.prepend_input) == ("", False)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, 'input "text_input" is missing; "messages" or "input_token_ids" may take its place'),
        (
            {"text_input": "Hi", "messages": '[{"role": "user", "content": "Hi"}]'},
            'inputs "text_input", "messages" and "input_token_ids" exclude each other',
        ),
        ({"messages": "[]"}, 'input "messages" has no message'),
        ({"messages": "{}"}, 'input "messages" must be a JSON list, not an object'),
        (
            {"messages": "[1"},
            "input \"messages\" is not valid JSON: Expecting ',' delimiter at line 1 column 3",
        ),
        ({"messages": "[1]"}, 'input "messages" item 0 must be an object with a "role", got 1'),
        (
            {"messages": '[{"role": "user"}]'},
            'input "messages" item 0: "content" must be a string, got None',
        ),
        (
            {"messages": '[{"role": "user", "content": [{"type": "image"}]}]'},
            'input "messages" item 0: a part of "content" must be {"type": "text", "text": ...}, '
            "got {'type': 'image'}",
        ),
        (
            {"input_token_ids": np.array([3, -1])},
            'input "input_token_ids" must have one token id or more, and none below 0',
        ),
    ],
)
def test_what_cannot_be_continued_is_named(inputs: dict[str, Any], message: str, pb_utils: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse(Request(**inputs), pb_utils)
    assert str(caught.value) == message


def test_priority_and_timeout_come_from_either_place(pb_utils: Any) -> None:
    given = {"priority": "3", "timeout": 1_500_000}
    as_text = Request(text_input="Hi", sampling_parameters=json.dumps(given))
    for request in (Request(given, text_input="Hi"), as_text):
        parsed = parse(request, pb_utils)
        assert (parsed.priority, parsed.timeout) == (3, 1.5)
        assert parsed.sampling.values == {}
    assert parse(Request({"timeout": 0}, text_input="Hi"), pb_utils).timeout is None


@pytest.mark.parametrize("value", [-1, 2**60, "soon", True])
def test_a_timeout_that_is_none_is_refused(value: Any, pb_utils: Any) -> None:
    with pytest.raises(RequestError, match='parameter "timeout" must be '):
        parse(Request({"timeout": value}, text_input="Hi"), pb_utils)


def test_a_parameter_written_with_a_hyphen_is_no_header(pb_utils: Any) -> None:
    assert parse(Request({"x-request-id": "7"}, text_input="Hi"), pb_utils).sampling.values == {}
    with pytest.raises(RequestError) as caught:
        parse(Request({"max-tokens": 7}, text_input="Hi"), pb_utils)
    assert str(caught.value) == 'unknown parameter "max-tokens", did you mean "max_tokens"?'
