"""The adapter on a running engine: what comes out, and that the numbers are right."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from triton_vllm import enginefields
from triton_vllm.engines import common
from triton_vllm.engines.interface import EmbedJob
from triton_vllm.errors import RequestError

from benchmarks.models import count_words

from .conftest import Running, Sink

PROMPT = "w00001 w00002 w00003"


def test_a_stream_brings_what_is_new(running: Running) -> None:
    outputs = running.generate(PROMPT, True, logprobs=True, max_tokens=8, ignore_eos=True)
    token_ids = [token for output in outputs for token in output.outputs[0].token_ids]
    text = "".join(output.outputs[0].text for output in outputs)
    logprobs = [entry for output in outputs for entry in output.outputs[0].logprobs or ()]
    assert (len(token_ids), count_words(text)) == (8, 8)
    assert [token in entry for token, entry in zip(token_ids, logprobs, strict=True)] == [True] * 8
    assert len(outputs) > 1
    assert [output.finished for output in outputs] == [False] * (len(outputs) - 1) + [True]
    assert outputs[-1].outputs[0].finish_reason == "length"


def test_a_stream_and_a_full_answer_say_the_same(running: Running) -> None:
    sampling = {"max_tokens": 12, "ignore_eos": True, "temperature": 1.0, "seed": 7}
    streamed = running.generate(PROMPT, True, **sampling)
    (full,) = running.generate(PROMPT, False, **sampling)
    assert "".join(output.outputs[0].text for output in streamed) == full.outputs[0].text
    assert full.finished
    assert list(full.prompt_token_ids or ()) == [1, 2, 3]


@pytest.mark.parametrize("stream", [True, False])
def test_several_sequences(running: Running, stream: bool) -> None:
    outputs = running.generate(PROMPT, stream, n=2, max_tokens=5, ignore_eos=True, temperature=1.0)
    texts, num_tokens = {0: "", 1: ""}, {0: 0, 1: 0}
    for output in outputs:
        for completion in output.outputs:
            texts[completion.index] += completion.text
            num_tokens[completion.index] += len(completion.token_ids)
    # A special token, which any may be, has no text.
    assert num_tokens == {0: 5, 1: 5}
    assert texts[0] != texts[1]
    assert stream or len(outputs) == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("ranking", [{"temperature": 1.0}, {"temperature": 0.0, "use_beam_search": True}])
def test_the_best_of_several_sequences_is_known_at_the_end(
    running: Running, stream: bool, ranking: dict[str, Any]
) -> None:
    if not {"best_of", *ranking} <= set(running.engine.fields):
        with pytest.raises(RequestError):
            running.generate(PROMPT, stream, best_of=3, **ranking)
        return
    (output,) = running.generate(PROMPT, stream, n=2, best_of=3, max_tokens=5, ignore_eos=True, **ranking)
    assert output.finished
    assert [completion.index for completion in output.outputs] == [0, 1]
    assert output.outputs[0].text != output.outputs[1].text
    assert [len(completion.token_ids) for completion in output.outputs] == [5, 5]


def test_many_at_once(running: Running) -> None:
    async def tokens(length: int) -> int:
        job = running.job(PROMPT, length % 2 == 0, max_tokens=length, ignore_eos=True)
        outputs = [output async for output in running.engine.generate(job)]
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(tokens(length) for length in range(1, 41)))

    assert running.run(all_of_them()) == list(range(1, 41))


def test_an_aborted_request_leaves_the_engine(running: Running, sink: Sink) -> None:
    async def abort() -> None:
        job = running.job(PROMPT, True, max_tokens=400, ignore_eos=True)
        stream = running.engine.generate(job)
        first = await stream.__anext__()
        assert not first.finished
        await running.engine.abort(job.request_id)
        await stream.aclose()  # type: ignore[attr-defined]

    running.run(abort())
    sink.clear()
    # The engine tells of its queues with its next steps.
    running.generate(PROMPT, False, max_tokens=4, ignore_eos=True)
    assert sink.counted["generation_tokens_total"] < 100
    assert sink.levels["num_requests_running"] <= 1
    assert not running.engine.failed
    running.run(running.engine.check_health())


def test_the_numbers_of_a_known_load(running: Running, sink: Sink) -> None:
    sink.clear()
    started = time.time()
    for _ in range(3):
        running.generate(PROMPT, True, max_tokens=8, ignore_eos=True)
    running.generate(PROMPT, False, n=2, max_tokens=5, ignore_eos=True, temperature=1.0)
    running.run(asyncio.sleep(0.5))
    elapsed = time.time() - started
    sequences = len(sink.observed["request_generation_tokens"])
    assert sorted(sink.observed["request_generation_tokens"]) == [5, 5, 8, 8, 8]
    assert sink.counted["generation_tokens_total"] == 3 * 8 + 2 * 5
    # An engine that makes n sequences of a prompt may read the prompt once, or n times.
    assert sink.counted["prompt_tokens_total"] in (3 * 3 + 3, 3 * 3 + 2 * 3)
    assert sink.counted["request_success_total"] == sequences == 5
    assert sorted(sink.observed["request_params_n"]) == sorted(sink.observed["request_params_best_of"])
    assert set(sink.observed["request_params_n"]) == {1, 2}
    assert len(sink.observed["time_to_first_token_seconds"]) in (4, 5)
    assert len(sink.observed["time_per_output_token_seconds"]) in (3 * 7 + 2 * 4, 3 * 7 + 2 * 4 + 1)
    assert len(sink.observed["e2e_request_latency_seconds"]) == 5
    assert 0 < sum(sink.observed["e2e_request_latency_seconds"][:3]) < elapsed
    assert {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"} <= set(sink.levels)


def test_vllm_feeds_no_registry_that_nobody_reads(running: Running) -> None:
    import prometheus_client

    running.generate(PROMPT, False, max_tokens=4, ignore_eos=True)
    fed = [
        sample.name
        for family in prometheus_client.REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("vllm:") and "tokens" in sample.name and sample.value
    ]
    assert fed == []


def test_values_that_vllm_refuses(running: Running) -> None:
    with pytest.raises(RequestError, match="temperature"):
        running.generate(PROMPT, True, temperature=-1.0)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        running.generate("w00001 " * 600, False, max_tokens=4)
    assert isinstance(common.translate(caught.value), RequestError), caught.value
    assert running.generate(PROMPT, False, max_tokens=2)[-1].finished


@pytest.mark.parametrize("prompt", ["", " ", {"prompt_token_ids": []}])
def test_an_empty_prompt_is_refused(running: Running, prompt: Any) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        running.generate(prompt, False, max_tokens=2)
    assert isinstance(common.translate(caught.value), RequestError), caught.value
    assert running.generate(PROMPT, False, max_tokens=2)[-1].finished


@pytest.mark.parametrize("token_id", [8000, 2**40, -1])
def test_a_token_that_the_model_does_not_know_is_refused(running: Running, token_id: int) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        running.generate({"prompt_token_ids": [1, token_id]}, False, max_tokens=2)
    assert isinstance(common.translate(caught.value), RequestError), caught.value
    assert running.generate(PROMPT, False, max_tokens=2)[-1].finished


def test_more_sequences_than_run_at_once_hold_up_nobody(running: Running) -> None:
    # Refused by engines that run a request's sequences together, or done in turns.
    try:
        (output,) = running.generate(PROMPT, False, n=17, max_tokens=2, ignore_eos=True, temperature=1.0)
    except RequestError as error:
        assert "16" in str(error)  # noqa: PT017
    else:
        assert len(output.outputs) == 17
    assert running.generate(PROMPT, False, max_tokens=2)[-1].finished


@pytest.mark.parametrize("name", ["logprobs", "prompt_logprobs"])
def test_no_logprobs_but_those_of_the_tokens(running: Running, name: str) -> None:
    if name in running.engine.fields:
        assert running.generate(PROMPT, True, max_tokens=2, **{name: 0})[-1].finished
    assert running.generate(PROMPT, False, max_tokens=2)[-1].finished


def test_an_answer_keeps_to_a_choice(running: Running) -> None:
    if not {"guided_decoding", "structured_outputs"} & set(running.engine.fields):
        with pytest.raises(RequestError, match="not available"):
            running.generate(PROMPT, False, structured={"choice": ["w00007"]})
        return
    (output,) = running.generate(PROMPT, False, structured={"choice": ["w00007", "w00009"]}, max_tokens=4)
    assert output.outputs[0].text.strip() in ("w00007", "w00009")


def test_a_pattern_that_is_none_is_refused(running: Running) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        running.generate(PROMPT, False, structured={"regex": "("}, max_tokens=4)
    assert isinstance(common.translate(caught.value), RequestError), caught.value
    assert running.generate(PROMPT, False, max_tokens=2)[-1].finished


def test_the_tokenizer_is_the_models(running: Running) -> None:
    tokenizer = running.run(running.engine.get_tokenizer())
    assert tokenizer.encode(PROMPT) == [1, 2, 3]
    assert running.engine.max_model_len == 512


def test_a_model_that_embeds(model: Path, running: Running) -> None:
    path = enginefields.find_arg_utils()
    assert path is not None
    fields = enginefields.read_fields(path)
    if not {"runner", "task"} & set(fields):
        # Only a model made for it embeds, and no CPU runs one. Another one would make the engine die.
        assert running.run(running.engine.get_tasks()) == {"generate"}
        return
    newer = "runner" in fields
    arguments: dict[str, Any] = {"runner": "pooling", "convert": "embed"} if newer else {"task": "embed"}
    running = Running(model, None, **arguments)
    try:
        embedding = running.run(running.engine.embed(EmbedJob("embed", PROMPT)))
        assert (len(embedding.vector), embedding.num_tokens) == (128, 3)
        assert sum(value * value for value in embedding.vector) == pytest.approx(1, abs=0.02)
        again = running.run(running.engine.embed(EmbedJob("again", {"prompt_token_ids": [1, 2, 3]})))
        assert again.vector == pytest.approx(embedding.vector, abs=1e-3)
        # This model's vectors cannot be shortened.
        with pytest.raises(RequestError, match=r"dimensions|matryoshka"):
            running.run(running.engine.embed(EmbedJob("short", PROMPT, dimensions=2)))
    finally:
        running.stop()
