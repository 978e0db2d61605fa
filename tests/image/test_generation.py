"""Text comes back over HTTP, in the shape upstream's backend gives it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.image.serving import Server
from tritonbuild.spec import BuildSpec

EXAMPLE = "What is Triton Inference Server?"
# A sentence to go on with: a chat model may find nothing to add to a whole one.
PROMPT = "Once upon a time, in a village by the sea,"


def is_sensible(text: str) -> bool:
    """Tell whether a text is made of several different words."""
    found = words(text)
    return len(set(found)) >= 4 and sum(map(len, found)) > len(text) / 2


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]{2,}", text)


@pytest.mark.usefixtures("speaks")
def test_generate_answers_the_example_of_the_readme(server: Server) -> None:
    reply = server.post(
        "/v2/models/vllm_model/generate",
        {"text_input": EXAMPLE, "parameters": {"stream": False, "temperature": 0}},
    )
    assert reply.status == 200, reply.text
    answer = reply.json()
    assert set(answer) == {"model_name", "model_version", "text_output"}
    assert (answer["model_name"], answer["model_version"]) == ("vllm_model", "1")
    assert answer["text_output"].startswith(EXAMPLE)
    text = answer["text_output"].removeprefix(EXAMPLE)
    assert is_sensible(text), f"the answer is {text!r}"


@pytest.mark.usefixtures("speaks")
def test_conversation_is_answered_as_the_question_in_it(server: Server) -> None:
    messages = json.dumps([{"role": "user", "content": EXAMPLE}])
    parameters = {"temperature": 0, "max_tokens": 12}
    reply = server.post("/v2/models/vllm_model/generate", {"messages": messages, "parameters": parameters})
    assert reply.status == 200, reply.text
    text = reply.json()["text_output"]
    # The repository of the image puts a plain text into the same template.
    assert server.answer(EXAMPLE, **parameters) == EXAMPLE + text
    followed = [
        {"role": "user", "content": EXAMPLE},
        {"role": "assistant", "content": text},
        {"role": "user", "content": [{"type": "text", "text": "Say it in French."}]},
    ]
    reply = server.post(
        "/v2/models/vllm_model/generate", {"messages": json.dumps(followed), "parameters": parameters}
    )
    assert words(reply.json()["text_output"])
    assert reply.json()["text_output"] != text


@pytest.mark.usefixtures("speaks")
def test_sentence_is_continued(server: Server) -> None:
    text = server.answer(PROMPT).removeprefix(PROMPT)
    assert is_sensible(text), f"the answer is {text!r}"


def test_same_prompt_gets_the_same_answer_at_temperature_zero(server: Server) -> None:
    assert server.answer(PROMPT) == server.answer(PROMPT)


def test_exclude_input_in_output_drops_the_prompt(server: Server) -> None:
    whole = server.answer(PROMPT)
    assert server.answer(PROMPT, inputs={"exclude_input_in_output": True}) == whole.removeprefix(PROMPT)
    assert server.answer(PROMPT, inputs={"exclude_input_in_output": False}) == whole


def test_max_tokens_bounds_the_answer(server: Server) -> None:
    def answer(tokens: int) -> str:
        inputs = {"exclude_input_in_output": True}
        return server.answer(PROMPT, inputs=inputs, max_tokens=tokens, ignore_eos=True)

    short, long = answer(3), answer(12)
    assert long.startswith(short)
    assert len(short) < len(long)
    # No token of a text model spans two words.
    assert len(short.split()) <= 3


def test_sampling_parameters_tensor_is_read_like_the_request_parameters(server: Server) -> None:
    reply = server.post(
        "/v2/models/vllm_model/generate",
        {"text_input": PROMPT, "sampling_parameters": '{"temperature": 0, "max_tokens": 5}'},
    )
    assert reply.status == 200, reply.text
    assert reply.json()["text_output"] == server.answer(PROMPT, max_tokens=5)


@pytest.mark.engine_has("seed")
def test_random_sampling_answers_and_a_seed_repeats_it(server: Server) -> None:
    """Takes another way through the engine than temperature 0: filters, and a random choice."""

    def answer(seed: int) -> str:
        # As texts, which every Triton takes.
        return server.answer(PROMPT, temperature="0.8", top_p="0.9", top_k=40, seed=seed, max_tokens=24)

    texts = {answer(seed) for seed in range(3)}
    assert len(texts) > 1, f"every seed gave {texts}"
    assert answer(1) == answer(1)


@pytest.mark.engine_has("seed")
def test_parameter_may_have_a_fraction(server: Server, spec: BuildSpec) -> None:
    values = {"top_p": 0.9, "seed": 1, "max_tokens": 12}
    sampling = json.dumps({"temperature": 0.8, **values})
    reply = server.post(
        "/v2/models/vllm_model/generate", {"text_input": PROMPT, "sampling_parameters": sampling}
    )
    assert reply.status == 200, reply.text
    told = server.ask(PROMPT, temperature=0.8, **values)
    if spec.abilities["float-parameters"]:
        assert told.json() == reply.json()
    else:
        assert told.status == 400
        assert "parameter 'temperature' has invalid type" in told.json()["error"]


def test_stream_joins_to_the_answer_without_the_prompt(server: Server) -> None:
    whole = server.answer(PROMPT, inputs={"exclude_input_in_output": True}, max_tokens=24)
    reply = server.ask(PROMPT, stream=True, max_tokens=24)
    assert reply.status == 200, reply.text
    events = reply.events()
    assert len(events) >= 5, "the text did not come in pieces"
    assert {frozenset(event) for event in events} == {
        frozenset({"model_name", "model_version", "text_output"})
    }
    assert "".join(event["text_output"] for event in events) == whole


@pytest.mark.usefixtures("speaks")
def test_knows_the_capital_of_france(server: Server, spec: BuildSpec, description: dict[str, Any]) -> None:
    if not spec.model or description["model"] != spec.model.name:
        pytest.skip("the image does not carry the model of its row, and another may not know")
    assert "Paris" in server.answer("What is the capital of France?", max_tokens=32)
