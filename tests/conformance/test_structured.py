"""Answers keep to a choice, a pattern or a schema, asked for in the words of any release."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conformance.fleet import Fleet

PROMPT = "Is this film good?"
CHOICE = {"choice": ["Positive", "Negative"]}
REGEX = {"regex": "[0-9]{4}-[0-9]{2}"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["age"],
    "additionalProperties": False,
}
JSON = {"json": SCHEMA}
SPELLINGS = ["structured_outputs", "guided_decoding"]


CONSTRAINTS = pytest.mark.engine_has("structured outputs")


def ask(fleet: Fleet, **values: Any) -> str:
    sampling = json.dumps({"temperature": 0, "max_tokens": 60, **values})
    return fleet.infer(PROMPT, exclude_input_in_output=True, sampling_parameters=sampling).text()


def keeps(constraint: dict[str, Any], text: str) -> bool:
    if "choice" in constraint:
        return text in CHOICE["choice"]
    if "regex" in constraint:
        return re.fullmatch(REGEX["regex"], text) is not None
    value = json.loads(text)
    return set(value) == {"age"} and 0 <= value["age"] <= 99


@CONSTRAINTS
@pytest.mark.parametrize("form", ["text", "object"])
@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("constraint", [CHOICE, REGEX, JSON], ids=lambda constraint: next(iter(constraint)))
def test_answer_keeps_to_the_constraint(
    fleet: Fleet, constraint: dict[str, Any], name: str, form: str
) -> None:
    value = json.dumps(constraint) if form == "text" else constraint
    text = ask(fleet, **{name: value})
    assert keeps(constraint, text), text


def test_answer_without_a_constraint_keeps_to_none(fleet: Fleet) -> None:
    """Or the other tests would prove nothing."""
    text = ask(fleet)
    assert text not in CHOICE["choice"]
    assert not re.fullmatch(REGEX["regex"], text)


@CONSTRAINTS
@pytest.mark.parametrize("name", SPELLINGS)
def test_constraint_may_be_a_request_parameter(fleet: Fleet, name: str) -> None:
    parameters = {"temperature": "0", name: json.dumps(CHOICE)}
    answer = fleet.infer(PROMPT, parameters, exclude_input_in_output=True)
    assert answer.text() in CHOICE["choice"]
    reply = fleet.ask(PROMPT, inputs={"exclude_input_in_output": True}, **{name: json.dumps(CHOICE)})
    assert reply.json()["text_output"] in CHOICE["choice"]


@CONSTRAINTS
def test_streamed_answer_keeps_to_the_constraint(fleet: Fleet) -> None:
    sampling = json.dumps({"temperature": 0, "max_tokens": 60, "structured_outputs": JSON})
    assert keeps(JSON, fleet.infer(PROMPT, stream=True, sampling_parameters=sampling).text())


@CONSTRAINTS
def test_openai_frontends_form_is_understood(fleet: Fleet) -> None:
    """For a tool call it sends every field of vLLM's own class, also those that are not to be set."""
    fields = {
        "json": json.dumps(SCHEMA), "regex": None, "choice": None, "grammar": None, "json_object": None,
        "disable_any_whitespace": False, "disable_additional_properties": False,
        "whitespace_pattern": None, "structural_tag": None, "_backend": None, "_backend_was_auto": False,
    }  # fmt: skip
    assert keeps(JSON, ask(fleet, structured_outputs=json.dumps(fields)))


@CONSTRAINTS
@pytest.mark.parametrize("backend", [None, "auto", "xgrammar"])
def test_backend_that_a_request_could_name_is_understood(fleet: Fleet, backend: str | None) -> None:
    """`guided_decoding` had a backend to choose, the engine of today chooses by itself."""
    assert keeps(REGEX, ask(fleet, guided_decoding={**REGEX, "backend": backend}))


@CONSTRAINTS
@pytest.mark.parametrize(
    ("value", "named"),
    [
        pytest.param({"chioce": ["a"]}, "choice", id="misspelt"),
        pytest.param("{nonsense", "structured_outputs", id="not_json"),
        pytest.param({"regex": "("}, "regex", id="broken_pattern"),
        pytest.param({"json": {"type": "no such type"}}, "no such type", id="broken_schema"),
        pytest.param({"grammar": "nonsense ::= ("}, "grammar", id="broken_grammar"),
    ],
)
def test_broken_constraint_is_refused(fleet: Fleet, value: Any, named: str) -> None:
    sampling = json.dumps({"temperature": 0, "structured_outputs": value})
    message = fleet.infer(PROMPT, sampling_parameters=sampling).message()
    assert named in message.lower()
    assert "\n" not in message
    assert ask(fleet, structured_outputs=CHOICE) in CHOICE["choice"]


@pytest.mark.engine_lacks("structured outputs")
@pytest.mark.parametrize("name", SPELLINGS)
def test_engine_without_constraints_refuses_one_by_name(fleet: Fleet, name: str) -> None:
    sampling = json.dumps({"temperature": 0, name: CHOICE})
    message = fleet.infer(PROMPT, sampling_parameters=sampling).message()
    assert f'unknown parameter "{name}"' in message
    assert fleet.answer(PROMPT)
