"""Sampling parameters in every form and spelling that clients send them in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.fleet import Fleet
from tests.image.abilities import has
from tests.tinymodel import CONTEXT

PROMPT = "The capital of France is"
PROMPTS = ["The most dangerous animal is", PROMPT, "The future of AI is"]
BIASES = pytest.mark.engine_has("logit_bias")
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}
# A text that is no picture, and a picture of one pixel.
NO_PICTURE = "aGVsbG8="
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def tensor(**values: Any) -> dict[str, str]:
    return {"sampling_parameters": json.dumps({**GREEDY, **values})}


def test_tensor_and_request_parameters_mean_the_same(fleet: Fleet) -> None:
    """As upstream's own tests send them: numbers as texts, all prompts on one stream."""
    texts = {"temperature": "0", "top_p": "1"}
    as_tensor = fleet.infer_all(
        {"text_input": prompt, "sampling_parameters": json.dumps(texts)} for prompt in PROMPTS
    )
    as_parameters = [fleet.infer(prompt, texts) for prompt in PROMPTS]
    assert [a.text() for a in as_tensor] == [a.text() for a in as_parameters]
    # vLLM's default is 16 tokens.
    assert [len(answer.text()) for answer in as_tensor] == [len(prompt) + 16 for prompt in PROMPTS]


def test_tensor_wins_over_request_parameters(fleet: Fleet) -> None:
    answer = fleet.infer(PROMPT, {"max_tokens": 9, "temperature": "0"}, **tensor(max_tokens=3))
    assert len(answer.text()) == len(PROMPT) + 3
    reply = fleet.ask(PROMPT, inputs=tensor(max_tokens=3), max_tokens=9)
    assert reply.json()["text_output"] == answer.text()


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("max_tokens", [6, "6", 6.0, "6.0"]),
        ("temperature", [0, "0", 0.0, "0.0"]),
        ("ignore_eos", [True, "true", "True"]),
        ("skip_special_tokens", [False, "false", "False"]),
        ("stop", [["~no such text~"], '["~no such text~"]', "~no such text~"]),
        pytest.param("logit_bias", [{"90": 100}, '{"90": 100}', {"90": 100.0}], marks=BIASES),
    ],
)
def test_value_may_be_spelled_in_several_ways(fleet: Fleet, name: str, spellings: list[Any]) -> None:
    answers = fleet.infer_all({"text_input": PROMPT, **tensor(**{name: value})} for value in spellings)
    assert len({answer.text() for answer in answers}) == 1
    parameter = next(value for value in spellings if isinstance(value, str))
    assert (
        fleet.infer(PROMPT, {"temperature": "0", "max_tokens": 12} | {name: parameter}).text()
        == answers[0].text()
    )


def test_prompt_is_part_of_the_answer_unless_excluded(fleet: Fleet) -> None:
    default = fleet.infer(PROMPT, **tensor()).text()
    assert default.startswith(PROMPT)
    assert len(default) == len(PROMPT) + 12
    assert fleet.infer(PROMPT, exclude_input_in_output=False, **tensor()).text() == default
    assert fleet.infer(PROMPT, exclude_input_in_output=True, **tensor()).text() == default.removeprefix(
        PROMPT
    )


def test_stream_never_has_the_prompt(fleet: Fleet) -> None:
    whole = fleet.infer(PROMPT, exclude_input_in_output=True, **tensor()).text()
    answer = fleet.infer(PROMPT, stream=True, **tensor())
    assert answer.text() == whole
    assert len(answer.texts()) > 1
    assert fleet.infer(PROMPT, stream=True, exclude_input_in_output=True, **tensor()).text() == whole
    refused = fleet.infer(PROMPT, stream=True, exclude_input_in_output=False, **tensor())
    assert refused.message() == "When streaming, `exclude_input_in_output` = False is not allowed."


@pytest.mark.engine_has("seed")
@pytest.mark.parametrize("n", [2, 4])
def test_every_one_of_n_texts_comes(fleet: Fleet, n: int) -> None:
    sampling = tensor(n=n, temperature=1.0, seed=7)
    inputs = {"exclude_input_in_output": True, "return_num_output_tokens": True, **sampling}
    whole = fleet.infer(PROMPT, **inputs)
    texts = whole.last("text_output")
    assert len(set(texts)) == n
    assert len(whole.responses) == 1
    assert whole.last("num_output_tokens") == [12] * n
    streamed = fleet.infer(PROMPT, stream=True, **inputs)
    assert [streamed.text(index) for index in range(n)] == texts
    assert [sum(counts) for counts in zip(*streamed.tensors("num_output_tokens"), strict=True)] == [12] * n
    prompted = fleet.infer(PROMPT, **sampling).last("text_output")
    assert prompted == [PROMPT + text for text in texts]


def test_parameters_of_the_openai_frontend_work_together(fleet: Fleet) -> None:
    """The frontend sends what its client left out as well, with OpenAI's defaults."""
    late = {"seed": 5, "logit_bias": {}, "min_tokens": 1}
    sampling = tensor(
        frequency_penalty=0.0, presence_penalty=0.0, n=1, top_p=1.0, stop=["~no such text~"],
        logprobs=2, ignore_eos=True, **{name: value for name, value in late.items() if has(fleet.spec, name)},
    )  # fmt: skip
    flags = {"return_num_input_tokens": True, "return_num_output_tokens": True, "return_logprobs": True}
    answer = fleet.infer(PROMPT, exclude_input_in_output=True, stream=False, **flags, **sampling)
    assert answer.text() == fleet.infer(PROMPT, exclude_input_in_output=True, **tensor()).text()
    assert (answer.last("num_input_tokens"), answer.last("num_output_tokens")) == ([len(PROMPT)], [12])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, marks=pytest.mark.engine_lacks(name))
        for name, value in (("seed", 5), ("logit_bias", {"90": 100}), ("min_tokens", 1))
    ],
)
def test_parameter_that_only_later_engines_have_is_refused_by_name(
    fleet: Fleet, name: str, value: Any
) -> None:
    assert f'unknown parameter "{name}"' in fleet.infer(PROMPT, **tensor(**{name: value})).message()
    assert fleet.infer(PROMPT, **tensor()).text()


@BIASES
def test_logit_bias_decides_the_text(fleet: Fleet) -> None:
    answer = fleet.infer(PROMPT, exclude_input_in_output=True, **tensor(logit_bias={str(ord("Z")): 100}))
    assert answer.text() == "Z" * 12


def test_penalties_and_choices_change_the_text(fleet: Fleet) -> None:
    def ask(**values: Any) -> str:
        return fleet.infer(PROMPT, exclude_input_in_output=True, **tensor(max_tokens=40, **values)).text()

    plain = ask()
    assert ask(presence_penalty=2.0, frequency_penalty=2.0) != plain
    assert ask(repetition_penalty=2.0) != plain
    assert ask(temperature=1.0, top_k=1) == plain
    if has(fleet.spec, "seed"):
        assert ask(temperature=1.0, seed=3) == ask(temperature=1.0, seed=3) != plain


def test_text_goes_on_to_the_end_of_the_context_and_no_further(fleet: Fleet) -> None:
    sampling = tensor(max_tokens=10_000)
    answer = fleet.infer(PROMPT, return_finish_reason=True, return_num_output_tokens=True, **sampling)
    assert answer.last("finish_reason") == ["length"]
    # The V0 engine still takes the token that is one too many.
    beyond = 0 if has(fleet.spec, "V1") else 1
    assert answer.last("num_output_tokens") == [CONTEXT - len(PROMPT) + beyond]


@pytest.mark.parametrize(
    ("text", "values", "named"),
    [
        pytest.param("", {}, "prompt", id="empty_prompt"),
        pytest.param("x" * (CONTEXT + 1), {}, str(CONTEXT), id="prompt_over_the_context"),
        pytest.param(PROMPT, {"temprature": 1}, "temperature", id="misspelt"),
        pytest.param(PROMPT, {"temperature": -1}, "temperature", id="out_of_range"),
        pytest.param(PROMPT, {"n": 0}, "n must be", id="no_text"),
        pytest.param(PROMPT, {"top_p": "much"}, "top_p", id="no_number"),
    ],
)
def test_bad_request_gets_one_line(fleet: Fleet, text: str, values: dict[str, Any], named: str) -> None:
    message = fleet.infer(text, **tensor(**values)).message()
    assert named in message
    assert "\n" not in message
    assert fleet.infer(PROMPT, **tensor()).text()


def test_image_is_refused_by_a_text_model(fleet: Fleet) -> None:
    assert 'input "image" element 0' in fleet.infer(PROMPT, image=[NO_PICTURE], **tensor()).message()
    refused = fleet.infer(PROMPT, image=[PIXEL], **tensor()).message()
    assert "modal" in refused or 'input "image"' in refused


def test_no_image_is_no_image(fleet: Fleet) -> None:
    assert fleet.infer(PROMPT, image=[], **tensor()).text() == fleet.infer(PROMPT, **tensor()).text()
