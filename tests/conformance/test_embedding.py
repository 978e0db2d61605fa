"""Vectors, asked for as the OpenAI-compatible frontend does."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.streams import Answer, infer
from tests.image.standin import tiny_size
from tritonbuild.spec import BuildSpec

TEXT = "The food was delicious"
POOLING = pytest.mark.engine_has("runner")


def ask(fleet: Fleet, body: Any, **flags: bool) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return infer(fleet.address, "embedding", {"embedding_request": text, **flags})


def read_vector(answer: Answer) -> list[float]:
    vector: list[float] = json.loads(answer.text())
    return vector


@POOLING
def test_vector_has_the_models_width_and_length_one(fleet: Fleet, spec: BuildSpec) -> None:
    vector = read_vector(ask(fleet, {"input": TEXT, "pooling_params": {}}))
    assert len(vector) == tiny_size(spec).hidden
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-4)


@POOLING
def test_different_texts_have_different_vectors(fleet: Fleet) -> None:
    first, again, other = (fleet.embed({"input": text}) for text in (TEXT, TEXT, "The service was slow"))
    assert again == pytest.approx(first, abs=1e-4)
    assert sum(x * y for x, y in zip(first, other, strict=True)) < 0.99


@POOLING
@pytest.mark.parametrize("given", [[TEXT], list(TEXT.encode())], ids=["list_of_one", "token_ids"])
def test_input_may_be_a_list(fleet: Fleet, given: list[Any]) -> None:
    assert fleet.embed({"input": given}) == pytest.approx(fleet.embed({"input": TEXT}), abs=1e-4)


@POOLING
@pytest.mark.parametrize(
    "body",
    [
        {"input": TEXT, "pooling_params": {"dimensions": [16]}},
        {"input": TEXT, "pooling_params": {"dimensions": 16}},
        {"input": TEXT, "dimensions": 16},
    ],
    ids=["as_the_frontend_does", "number", "as_openai_does"],
)
def test_number_of_dimensions_can_be_asked_for(fleet: Fleet, body: Any) -> None:
    vector = read_vector(ask(fleet, body))
    assert len(vector) == 16
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-4)


@POOLING
def test_tokens_are_counted(fleet: Fleet) -> None:
    """The frontend asks for both, and takes the usage from them."""
    answer = ask(fleet, {"input": TEXT}, return_num_input_tokens=True, return_num_output_tokens=True)
    assert answer.last("num_input_tokens") == [len(TEXT)]
    assert answer.last("num_output_tokens") == [0]


@POOLING
@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param({}, "input", id="no_input"),
        pytest.param({"input": [TEXT, TEXT]}, "input", id="two_texts"),
        pytest.param({"input": TEXT, "dimensions": "all"}, "dimensions", id="dimensions_no_number"),
        pytest.param({"input": TEXT, "dimensions": 10_000}, "dimension", id="too_many_dimensions"),
        pytest.param("{nonsense", "embedding_request", id="not_json"),
    ],
)
def test_bad_request_is_refused_by_name(fleet: Fleet, body: Any, named: str) -> None:
    message = ask(fleet, body).message()
    assert named in message
    assert "\n" not in message
    assert fleet.embed({"input": TEXT})


@POOLING
def test_request_of_the_other_kind_is_refused(fleet: Fleet) -> None:
    wrong = infer(fleet.address, "text", {"embedding_request": json.dumps({"input": TEXT})})
    assert wrong.message() == "Model text does not support 'embed' request"
    assert (
        fleet.of("embedding").infer(TEXT).message() == "Model embedding does not support 'generate' request"
    )
    assert fleet.embed({"input": TEXT})
    assert fleet.answer(TEXT)


def test_text_model_refuses_to_make_a_vector(fleet: Fleet) -> None:
    message = infer(fleet.address, "text", {"embedding_request": json.dumps({"input": TEXT})}).message()
    assert "embed" in message
    assert "\n" not in message
    assert fleet.answer(TEXT)
