from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
from triton_vllm.errors import RequestError
from triton_vllm.fields import Field, coerce, read_fields, read_makers


def make(*kinds: str, optional: bool = False) -> Field:
    return Field("p", frozenset(kinds), optional)


@pytest.mark.parametrize(
    ("kinds", "value", "expected"),
    [
        (("float",), 1, 1.0),
        (("float",), "0.5", 0.5),
        (("int",), 16.0, 16),
        (("int",), "16", 16),
        (("int",), "-1", -1),
        (("bool",), "true", True),
        (("bool",), "False", False),
        (("str", "list[str]"), "end", "end"),
        (("str", "list[str]"), ["a", "b"], ["a", "b"]),
        (("list[int]",), "[1, 2]", [1, 2]),
        (("list[str]",), '["a"]', ["a"]),
        (("dict[int, float]",), {"5": 1}, {5: 1.0}),
        (("dict[int, float]",), '{"5": -100}', {5: -100.0}),
        (("dict",), '{"a": {"b": 1}}', {"a": {"b": 1}}),
        ((), object, object),
    ],
)
def test_values_and_their_texts_become_the_parameters_type(
    kinds: tuple[str, ...], value: Any, expected: Any
) -> None:
    got = coerce(make(*kinds), value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("kinds", "value", "message"),
    [
        (("float",), "hot", "parameter \"p\" must be a number, got 'hot'"),
        (("float",), True, 'parameter "p" must be a number, got True'),
        (("float",), "nan", "parameter \"p\" must be a number, got 'nan'"),
        (("float",), 10**400, 'parameter "p" must be a number, got 1000'),
        (("int",), 1.5, 'parameter "p" must be an integer, got 1.5'),
        (("int",), True, 'parameter "p" must be an integer, got True'),
        (("int",), 2**63, 'parameter "p" must be an integer, got 9223372036854775808'),
        (("int",), "", "parameter \"p\" must be an integer, got ''"),
        (("int",), None, 'parameter "p" must be an integer, got None'),
        (("bool",), 1, 'parameter "p" must be true or false, got 1'),
        (("list[int]",), [1, "a"], "parameter \"p\" must be a list of integers, got [1, 'a']"),
        (("list[int]",), "[1", "parameter \"p\" must be a list of integers, got '[1'"),
        (("str", "list[str]"), 5, 'parameter "p" must be a list of strings or a string, got 5'),
        (
            ("dict[int, float]",),
            {"x": 1},
            "parameter \"p\" must be an object of token ids and numbers, got {'x': 1}",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_is_allowed(
    kinds: tuple[str, ...], value: Any, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        coerce(make(*kinds), value)
    assert str(caught.value).startswith(message)


def test_null_stands_for_an_optional_parameter_that_is_not_given() -> None:
    assert coerce(make("int", optional=True), None) is None


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(RequestError) as caught:
        coerce(make("int"), "x" * 10_000)
    assert len(str(caught.value)) < 200


class WithAnnotations:
    n: int = 1
    temperature: float = 1.0
    stop: str | list[str] | None = None
    seed: int | None = None
    logit_bias: dict[int, float] | None = None
    output_kind: object = None
    _private: int = 0


class InitOnly:
    def __init__(self, n: int = 1, temperature: float = 1.0, stop_token_ids: list[int] | None = None) -> None:
        pass


def test_fields_are_read_from_annotations() -> None:
    fields = read_fields(WithAnnotations, frozenset({"output_kind"}))
    assert fields == {
        "n": Field("n", frozenset({"int"})),
        "temperature": Field("temperature", frozenset({"float"})),
        "stop": Field("stop", frozenset({"str", "list[str]"}), optional=True),
        "seed": Field("seed", frozenset({"int"}), optional=True),
        "logit_bias": Field("logit_bias", frozenset({"dict[int, float]"}), optional=True),
    }


def test_fields_of_a_plain_class_are_read_from_its_constructor() -> None:
    fields = read_fields(InitOnly, frozenset())
    assert fields["stop_token_ids"] == Field("stop_token_ids", frozenset({"list[int]"}), optional=True)
    assert set(fields) == {"n", "temperature", "stop_token_ids"}


@dataclasses.dataclass
class Detection:
    max_size: int = 0


class Engine:
    """Stands for vLLM's SamplingParams."""

    temperature: float
    detection: Detection | None


def test_objects_are_made_by_the_worker_alone() -> None:
    fields = read_fields(Engine, frozenset())
    assert coerce(fields["detection"], '{"max_size": 3}') == {"max_size": 3}
    assert read_makers(Engine) == {"detection": Detection}
    # What the stub gets names no class of the engine, or it would import the engine to read it.
    assert __name__.encode() not in pickle.dumps(fields)
