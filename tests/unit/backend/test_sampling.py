from __future__ import annotations

from typing import Any

import pytest
from triton_vllm.errors import RequestError
from triton_vllm.sampling import Sampling, parse_sampling

from .fakes import FakeEngine

FIELDS = FakeEngine().fields


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"max_token": 5}, 'unknown parameter "max_token", did you mean "max_tokens"?'),
        ({"lora": "x"}, 'unknown parameter "lora", did you mean "lora_name"?'),
        ({"zzz": 5}, 'unknown parameter "zzz"'),
        ({"lora_name": 5}, 'parameter "lora_name" must be a string, got 5'),
        (
            {"structured_outputs": "[1]"},
            'parameter "structured_outputs" must be a JSON object, not a list',
        ),
        (
            {"structured_outputs": "{"},
            'parameter "structured_outputs" is not valid JSON: '
            "Expecting property name enclosed in double quotes at line 1 column 2",
        ),
        (
            {"structured_outputs": {"regex": "a"}, "guided_decoding": {"regex": "a"}},
            'parameters "structured_outputs" and "guided_decoding" exclude each other',
        ),
        (
            {"guided_decoding": {"regex": "a", "backend": "outlines"}},
            "parameter \"guided_decoding\": this engine chooses the backend itself, got 'outlines'",
        ),
        ({"seed": 2**63 - 2, "n": 2}, f'parameter "seed" must be below 2**63 - n, got {2**63 - 2}'),
    ],
)
def test_mistakes_are_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_sampling(raw, FIELDS)
    assert str(caught.value) == message


def test_the_adapters_name_is_taken_out() -> None:
    assert parse_sampling({"lora_name": "doll", "n": 2}, FIELDS) == Sampling({"n": 2}, None, "doll")


@pytest.mark.parametrize("name", ["structured_outputs", "guided_decoding"])
def test_both_spellings_of_structured_output_are_understood(name: str) -> None:
    sampling = parse_sampling({name: '{"choice": ["a", "b"]}'}, FIELDS)
    assert sampling.structured == {"choice": ["a", "b"]}


def test_structured_output_may_have_every_field_of_vllms_own_class() -> None:
    """As upstream's OpenAI frontend sends it."""
    given = {
        "json": "{}",
        "regex": None,
        "disable_any_whitespace": False,
        "_backend": None,
        "_was_auto": True,
    }
    sampling = parse_sampling({"structured_outputs": given}, FIELDS)
    assert sampling.structured == {"json": "{}", "disable_any_whitespace": False}


@pytest.mark.parametrize("backend", [None, "auto", "xgrammar", "xgrammar:no-fallback"])
def test_the_backend_of_guided_decoding_is_left_to_engines_that_have_none(backend: str | None) -> None:
    given = {"regex": "a", "backend": backend, "backend_was_auto": False, "disable_fallback": False}
    assert parse_sampling({"guided_decoding": given}, FIELDS).structured == {"regex": "a"}
    fields = {**FIELDS, "guided_decoding": FIELDS["structured_outputs"]}
    kept = parse_sampling({"guided_decoding": {**given, "backend": "outlines"}}, fields).structured
    assert kept is not None
    assert kept["backend"] == "outlines"


def test_structured_output_is_unknown_to_an_engine_without_it() -> None:
    fields = {name: field for name, field in FIELDS.items() if name != "structured_outputs"}
    with pytest.raises(RequestError, match="unknown parameter"):
        parse_sampling({"guided_decoding": {"regex": "a"}}, fields)
