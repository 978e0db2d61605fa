"""Adapters are chosen by name, per request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.repository import LORAS

PROMPT = "What is Machine Learning?"
NAMES = [None, *LORAS]
ADAPTERS = pytest.mark.engine_has("enable_lora")


def request(name: str | None, **values: Any) -> dict[str, Any]:
    chosen = {} if name is None else {"lora_name": name}
    sampling = json.dumps({"temperature": 0, "max_tokens": 24, **chosen, **values})
    return {"text_input": PROMPT, "exclude_input_in_output": True, "sampling_parameters": sampling}


@ADAPTERS
def test_each_adapter_says_something_else(fleet: Fleet) -> None:
    texts = {name: fleet.infer_all([request(name)])[0].text() for name in NAMES}
    assert len(set(texts.values())) == len(NAMES)


@ADAPTERS
def test_requests_with_different_adapters_share_a_batch(fleet: Fleet) -> None:
    alone = [fleet.infer_all([request(name)])[0].text() for name in NAMES]
    together = fleet.infer_all(request(name) for name in NAMES * 4)
    assert [answer.text() for answer in together] == alone * 4


@ADAPTERS
@pytest.mark.parametrize("name", LORAS)
def test_adapter_may_be_named_in_a_request_parameter(fleet: Fleet, name: str) -> None:
    expected = fleet.infer_all([request(name)])[0].text()
    inputs = {"exclude_input_in_output": True}
    assert fleet.answer(PROMPT, inputs=inputs, max_tokens=24, lora_name=name) == expected
    parameters = {"temperature": "0", "max_tokens": 24, "lora_name": name}
    assert fleet.infer(PROMPT, parameters, **inputs).text() == expected
    events = fleet.ask(PROMPT, stream=True, max_tokens=24, lora_name=name).events()
    assert "".join(event["text_output"] for event in events) == expected


@ADAPTERS
def test_unknown_adapter_is_refused_by_name(fleet: Fleet) -> None:
    (answer,) = fleet.infer_all([request("bavaria")])
    assert answer.message() == "LoRA bavaria is not supported, we currently support ['doll', 'sheep']"


def test_adapter_is_refused_where_lora_is_off(fleet: Fleet) -> None:
    (answer,) = fleet.of("pair").infer_all([request("doll")])
    assert answer.message() == "LoRA feature is not enabled."
