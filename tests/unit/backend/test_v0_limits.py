"""What would kill an early V0 engine is refused before it gets there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from triton_vllm.engines import common, v0_limits
from triton_vllm.engines.cumulative import CumulativeParams, follow
from triton_vllm.engines.v0_limits import Limits
from triton_vllm.errors import RequestError

from .fakes import FakeCompletion, FakeOutput

MADE = ((0, "good", -2.0), (1, "bad", -3.0), (2, "best", -1.0))


def params(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"n": 1, **values})


def engine(**model: Any) -> SimpleNamespace:
    scheduler = SimpleNamespace(max_num_seqs=16)
    return SimpleNamespace(model_config=SimpleNamespace(**model), scheduler_config=scheduler)


def test_limits_are_read_where_a_version_has_them() -> None:
    early = engine(max_model_len=64, hf_config=SimpleNamespace(vocab_size=100))
    assert v0_limits.read_limits(early) == Limits(vocab_size=100, max_sequences=16, max_model_len=64)
    text = SimpleNamespace(vocab_size=90)
    late = engine(max_model_len=64, hf_text_config=text, hf_config=SimpleNamespace(), multimodal_config=None)
    late.lora_config = SimpleNamespace(lora_extra_vocab_size=10)
    assert v0_limits.read_limits(late) == Limits(100, 16, 64, 0)
    assert v0_limits.read_limits(None) == Limits()


def test_how_many_images_a_model_takes() -> None:
    for config, expected in (
        (SimpleNamespace(limit_per_prompt={}), 1),
        (SimpleNamespace(limit_per_prompt={"image": 3}), 3),
        (SimpleNamespace(get_limit_per_prompt=lambda name: {"image": 7}[name]), 7),
    ):
        assert v0_limits.read_limits(engine(multimodal_config=config)).max_images == expected
    with pytest.raises(RequestError, match="takes none"):
        v0_limits.check_images(1, Limits(max_images=0))
    with pytest.raises(RequestError, match="takes 1 in a request, got 2"):
        v0_limits.check_images(2, Limits(max_images=1))
    v0_limits.check_images(2, Limits(max_images=2))
    v0_limits.check_images(9, Limits())


def test_what_a_model_can_do() -> None:
    for model, expected in (
        ({}, None),
        ({"embedding_mode": False}, {"generate"}),
        ({"embedding_mode": True}, {"embed"}),
        ({"task": "embedding"}, {"embed"}),
        ({"task": "embed", "runner_type": "pooling"}, {"embed"}),
        ({"task": "generate"}, {"generate"}),
        ({"task": "transcription", "runner_type": "transcription"}, {"generate"}),
        ({"task": "generate", "runner_type": "generate"}, {"generate"}),
    ):
        assert v0_limits.find_tasks(engine(**model)) == expected
    assert v0_limits.find_tasks(None) is None


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"n": 17}, r'"n" is 17.*16 sequences'),
        ({"n": 2, "best_of": 20}, r'"best_of" is 20'),
        ({"min_tokens": 1, "stop_token_ids": [5, 100]}, "100 is out of vocabulary"),
        ({"min_tokens": 1, "stop_token_ids": [-5]}, "-5 is out of vocabulary"),
        ({"n": 2, "use_beam_search": True, "length_penalty": -1e5}, "length_penalty"),
        ({"n": 2, "use_beam_search": True, "length_penalty": 1e5}, "length_penalty"),
    ],
)
def test_parameters_that_vllm_lets_through(values: dict[str, Any], complaint: str) -> None:
    limits = Limits(vocab_size=100, max_sequences=16, max_model_len=64)
    with pytest.raises(RequestError, match=complaint):
        v0_limits.check_params(params(**values), limits)
    v0_limits.check_params(params(**values), Limits())


def test_parameters_that_do_no_harm() -> None:
    limits = Limits(vocab_size=100, max_sequences=16, max_model_len=64)
    for values in (
        {"n": 16, "best_of": 16},
        {"min_tokens": 0, "stop_token_ids": [2**40]},
        {"min_tokens": 1, "stop_token_ids": None},
        {"n": 2, "use_beam_search": True, "length_penalty": 2.0},
        {"use_beam_search": False, "length_penalty": -1e5},
    ):
        v0_limits.check_params(params(**values), limits)


def test_prompts_that_the_model_cannot_read() -> None:
    common.check_token_ids([0, 99], 100)
    for token_ids, complaint in (([], "empty"), ([1, 100], "token id 100"), ([1, -1, 2], "token id -1")):
        with pytest.raises(RequestError, match=complaint):
            common.check_token_ids(token_ids, 100)
    common.check_token_ids([2**40], None)
    with pytest.raises(RequestError, match="empty"):
        common.check_token_ids([], None)


@pytest.mark.parametrize("error", [KeyError("grammar"), AssertionError(), ValueError("grammar")])
def test_what_goes_wrong_with_a_request_is_the_error_that_vllm_gives_to_it_alone(error: Exception) -> None:
    async def take_in(request_id: str, *, params: int) -> int:
        if params < 0:
            raise error
        return params

    engine = SimpleNamespace(add_request_async=take_in)
    v0_limits.contain_errors(engine)
    assert asyncio.run(engine.add_request_async("id", params=3)) == 3
    with pytest.raises(ValueError, match=r"grammar|AssertionError"):
        asyncio.run(engine.add_request_async("id", params=-1))
    v0_limits.contain_errors(None)


def test_an_answer_that_is_chosen_among_more_is_known_at_the_end() -> None:
    limits = Limits(max_sequences=16)
    assert not v0_limits.is_ranked(params(n=2, best_of=2), limits)
    assert not v0_limits.is_ranked(params(n=2, best_of=None), limits)
    assert v0_limits.is_ranked(params(n=1, best_of=2), limits)
    assert v0_limits.is_ranked(params(n=2, best_of=2, use_beam_search=True), limits)
    # As 0.6 has it: n is what the engine makes, and the number to return stands elsewhere.
    assert v0_limits.is_ranked(params(n=3, best_of=3, _real_n=2), Limits())
    assert not v0_limits.is_ranked(params(n=2, best_of=None, _real_n=None), Limits())
    # An engine that runs the sequences of a request together numbers them anew with every output.
    assert v0_limits.is_ranked(params(n=2, best_of=None, _real_n=None), limits)
    assert not v0_limits.is_ranked(params(n=1, best_of=None, _real_n=None), limits)


def test_the_best_are_chosen_where_the_engine_returns_all() -> None:
    async def outputs() -> AsyncIterator[Any]:
        made = [FakeCompletion(index, text, (1,), score, None, "stop") for index, text, score in MADE]
        yield FakeOutput(made, True)

    async def answer() -> Any:
        asked = CumulativeParams(params(n=3, best_of=3, _real_n=2), stream=True, ranked=True)
        return [output async for output in follow(outputs(), asked, None)]

    (output,) = asyncio.run(answer())
    assert [(made.index, made.text) for made in output.outputs] == [(0, "best"), (1, "good")]
