"""Through Triton a model says what the engine says by itself, to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.repository import LORAS, ROOT, SCRIPTS, engine_arguments, lora_arguments
from tests.image.abilities import has
from tests.image.serving import check_output
from tritonbuild.spec import BuildSpec

PROMPTS = ["The most dangerous animal is", "The capital of France is", "The future of AI is"]
SAMPLING: dict[str, Any] = {"temperature": 0, "top_p": 1, "max_tokens": 24, "logprobs": 2}
# Our numbers travel as JSON and FP32; the engine's batches differ from run to run, and with them the last bits of
# what it computes in half precision: logits of up to 32 come in steps of up to 1/64 there (0.0102 seen on an H100).
PRECISION, HALF = 1e-3, 1 / 32


@pytest.fixture(scope="package")
def baseline(fleet: Fleet, spec: BuildSpec) -> dict[str, Any]:
    """What the engine answers without Triton, and the vectors that `transformers` computes."""
    loras = LORAS if has(spec, "enable_lora") else {}
    orders = {
        "engine": {**engine_arguments(spec), **lora_arguments(spec)},
        "prompts": PROMPTS,
        "sampling": SAMPLING,
        "vectors": has(spec, "runner"),
        "loras": {name: [f"{ROOT}/loras/{name}", number] for name, number in loras.items()},
    }
    printed = check_output(fleet.container, ["python3", f"{SCRIPTS}/baseline.py", json.dumps(orders)])
    (line,) = [line for line in printed.splitlines() if line.startswith("baseline:")]
    found: dict[str, Any] = json.loads(line.removeprefix("baseline:"))
    texts = [answer["text"] for answers in found["answers"].values() for answer in answers]
    # Otherwise equal texts would mean little.
    assert len(set(texts)) == len(texts) == len(PROMPTS) * (1 + len(loras))
    assert {len(text) for text in texts} == {SAMPLING["max_tokens"]}
    return found


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "lora", ["", *(pytest.param(name, marks=pytest.mark.engine_has("enable_lora")) for name in LORAS)]
)
def test_text_is_the_engines_own(fleet: Fleet, baseline: dict[str, Any], lora: str, stream: bool) -> None:
    sampling = json.dumps(SAMPLING | ({"lora_name": lora} if lora else {}))
    answers = fleet.infer_all(
        {
            "text_input": prompt,
            "stream": stream,
            "exclude_input_in_output": True,
            "sampling_parameters": sampling,
        }
        for prompt in PROMPTS
    )
    assert [answer.text() for answer in answers] == [
        expected["text"] for expected in baseline["answers"][lora]
    ]


def test_logprobs_are_the_engines_own(fleet: Fleet, spec: BuildSpec, baseline: dict[str, Any]) -> None:
    precision = HALF if spec.is_cuda else PRECISION
    for prompt, expected in zip(PROMPTS, baseline["answers"][""], strict=True):
        answer = fleet.infer(prompt, return_logprobs=True, sampling_parameters=json.dumps(SAMPLING))
        positions = json.loads(answer.last("logprobs")[0])
        found = [{token: entry["logprob"] for token, entry in position.items()} for position in positions]
        assert len(found) == len(expected["logprobs"])
        for ours, theirs in zip(found, expected["logprobs"], strict=True):
            assert ours == pytest.approx(theirs, abs=precision)


def test_model_without_lora_says_the_same(fleet: Fleet, baseline: dict[str, Any]) -> None:
    texts = [
        fleet.of("pair").answer(prompt, inputs={"exclude_input_in_output": True}, max_tokens=24)
        for prompt in PROMPTS
    ]
    assert texts == [expected["text"] for expected in baseline["answers"][""]]


@pytest.mark.engine_has("runner")
def test_embedding_is_the_last_state_of_the_model(fleet: Fleet, baseline: dict[str, Any]) -> None:
    for prompt, expected in zip(PROMPTS, baseline["vectors"], strict=True):
        assert fleet.embed({"input": prompt}) == pytest.approx(expected, abs=PRECISION)
