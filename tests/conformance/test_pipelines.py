"""Other models of the same server use ours: ensembles, and models in Python that call them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.conformance.fleet import Fleet
from tests.conformance.streams import infer

PROMPT = "The future of AI is"
SAMPLING = json.dumps({"temperature": 0, "max_tokens": 12})
GREEDY = {"sampling_parameters": SAMPLING}


def test_ensemble_passes_a_prompt_through(fleet: Fleet) -> None:
    expected = fleet.infer(PROMPT.upper(), **GREEDY).text()
    inputs = {"PROMPT": PROMPT, "PARAMETERS": SAMPLING}
    answer = infer(fleet.address, "chain", inputs)
    assert answer.last("TEXT") == [expected]
    assert fleet.post("/v2/models/chain/generate", inputs).json()["TEXT"] == expected


def test_python_model_waits_for_our_answer(fleet: Fleet) -> None:
    for model in ("text", "pair"):
        inputs = {"MODEL": model, "text_input": PROMPT, **GREEDY}
        assert infer(fleet.address, "bls", inputs).text() == fleet.of(model).infer(PROMPT, **GREEDY).text()


def test_python_model_gets_our_error(fleet: Fleet) -> None:
    inputs = {"MODEL": "text", "text_input": PROMPT, "sampling_parameters": json.dumps({"temperature": -1})}
    assert "temperature" in infer(fleet.address, "bls", inputs).message()


def test_decoupled_python_model_passes_on_our_stream(fleet: Fleet) -> None:
    prompts = [PROMPT, "Hello"]
    answer = infer(fleet.address, "bls_stream", {"PROMPTS": prompts, **GREEDY})
    pieces = list(zip(answer.tensors("SOURCE"), answer.tensors("text_output"), strict=True))
    for prompt in prompts:
        texts = [text for source, (text,) in pieces if source == [prompt]]
        assert len(texts) > 1
        assert "".join(texts) == fleet.infer(prompt, stream=True, **GREEDY).text()


def test_instances_and_models_answer_at_the_same_time(fleet: Fleet) -> None:
    prompts = [f"{number}: {PROMPT}" for number in range(12)]
    expected = [fleet.infer(prompt, **GREEDY).text() for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        models = [fleet.of(name) for name in ("text", "pair", "text", "pair")]
        requests = [{"text_input": prompt, **GREEDY} for prompt in prompts]
        found = list(pool.map(lambda model: [a.text() for a in model.infer_all(requests)], models))
    assert found == [expected] * len(models)
