from __future__ import annotations

import asyncio
import itertools
import json
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from triton_vllm.metrics.recorder import Recorder
from triton_vllm.service import Service

from .fakes import EngineDeadError, FakeCompletion, FakeEngine, FakeOutput, FakeWorker, Request, delta


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


async def endless(job: Any) -> AsyncIterator[FakeOutput]:
    while True:
        yield delta(" a")
        await asyncio.sleep(0.01)


def test_one_answer_has_the_prompt_before_it(service: Service) -> None:
    request = Request(text_input="Hi")
    service.execute([request])
    (response,) = request.sender.wait()
    assert response.error is None
    assert response.texts == ["Hi a b c"]
    assert list(response.outputs) == ["text_output"]


def test_a_stream_joins_to_the_answer_without_the_prompt(service: Service) -> None:
    request = Request(text_input="Hi", stream=True)
    service.execute([request])
    assert "".join(response.texts[0] for response in request.sender.wait()) == " a b c"
    assert request.sender.flags[:-1] == [0] * (len(request.sender.flags) - 1)


def test_every_output_that_is_asked_for_is_there(service: Service) -> None:
    flags = (
        "finish_reason",
        "cumulative_logprob",
        "logprobs",
        "num_input_tokens",
        "num_output_tokens",
    )
    request = Request(text_input="Hi", **{f"return_{name}": True for name in flags})
    service.execute([request])
    (response,) = request.sender.wait()
    assert set(response.outputs) == {"text_output", *flags}
    assert response.outputs["finish_reason"].tolist() == [b"length"]
    assert response.outputs["num_input_tokens"].tolist() == [3]
    assert response.outputs["num_output_tokens"].tolist() == [3]
    assert response.outputs["num_output_tokens"].dtype == "uint32"
    assert response.outputs["cumulative_logprob"].dtype == "float32"
    assert response.outputs["logprobs"].tolist() == [b"null"]


def test_several_sequences_come_in_one_response(service: Service, engine: FakeEngine) -> None:
    async def two(job: Any) -> AsyncIterator[FakeOutput]:
        yield FakeOutput(
            [FakeCompletion(1, "y", (1,), finish_reason="stop"), FakeCompletion(0, "x", (1,))], True
        )

    engine.script = two
    request = Request({"n": 2}, text_input="Hi", exclude_input_in_output=True)
    service.execute([request])
    (response,) = request.sender.wait()
    assert response.texts == ["x", "y"]


def test_deltas_are_merged_while_the_sender_lags(service: Service, engine: FakeEngine) -> None:
    async def fast(job: Any) -> AsyncIterator[FakeOutput]:
        for number in range(500):
            yield delta(f" {number}", "length" if number == 499 else None)
            if number % 50 == 0:
                await asyncio.sleep(0.005)

    engine.script = fast
    request = Request(text_input="Hi", stream=True, return_num_output_tokens=True, delay=0.01)
    service.execute([request])
    responses = request.sender.wait()
    assert len(responses) < 50
    assert all(response.texts[0] for response in responses)
    assert "".join(response.texts[0] for response in responses) == "".join(f" {i}" for i in range(500))
    assert sum(int(response.outputs["num_output_tokens"][0]) for response in responses) == 500


def test_tokens_of_a_slow_engine_come_one_by_one(service: Service, engine: FakeEngine) -> None:
    async def slow(job: Any) -> AsyncIterator[FakeOutput]:
        for number in range(5):
            yield delta(f" {number}", "length" if number == 4 else None)
            await asyncio.sleep(0.05)

    engine.script = slow
    request = Request(text_input="Hi", stream=True)
    service.execute([request])
    assert [response.texts[0] for response in request.sender.wait()] == [f" {i}" for i in range(5)]


def counted(pb_utils: Any, name: str) -> float:
    """The value that was handed to Triton."""
    value: float = pb_utils.MetricFamily.registered[f"vllm:{name}"].metrics[0].value
    return value


def test_a_bad_request_is_answered_alone_and_the_others_run(
    service: Service, engine: FakeEngine, pb_utils: Any
) -> None:
    bad, good = Request({"max_token": 1}, text_input="Hi"), Request(text_input="Hi")
    service.execute([bad, good])
    (response,) = bad.sender.wait()
    assert response.error.code == "INVALID_ARG"
    assert response.error.text == 'unknown parameter "max_token", did you mean "max_tokens"?'
    assert response.texts == ["N/A"]
    assert good.sender.wait()[0].error is None
    assert len(engine.jobs) == 1
    wait_for(lambda: counted(pb_utils, "request_errors_total") == 1)


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (
            ValueError("prompt\n is   too long"),
            "INVALID_ARG",
            "Error generating stream: prompt is too long",
        ),
        (RuntimeError("boom"), "INTERNAL", "Error generating stream: RuntimeError: boom"),
        (KeyError(), "INVALID_ARG", "Error generating stream: KeyError"),
        (EngineDeadError("x"), "UNAVAILABLE", "the vLLM engine died; see the server's log"),
    ],
)
def test_what_the_engine_raises_is_one_line(
    raised: Exception, code: str, text: str, service: Service, engine: FakeEngine
) -> None:
    async def failing(job: Any) -> AsyncIterator[FakeOutput]:
        yield delta(" a")
        raise raised

    engine.script = failing
    request = Request(text_input="Hi", stream=True)
    service.execute([request])
    error = request.sender.wait()[-1].error
    assert (error.code, error.text) == (code, text)


def test_a_cancelled_request_is_aborted_and_answered(
    service: Service, engine: FakeEngine, pb_utils: Any, recorder: Recorder
) -> None:
    engine.script = endless
    recorder.level("num_requests_running", 1)
    request = Request(text_input="Hi", stream=True)
    service.execute([request])
    wait_for(lambda: len(request.sender.responses) > 2)
    wait_for(lambda: counted(pb_utils, "num_requests_running") == 1)
    request.sender.cancelled = True
    assert request.sender.wait()[-1].error.code == "CANCELLED"
    assert engine.aborted == [engine.jobs[0].request_id]
    wait_for(
        lambda: (
            pb_utils.Logger.lines
            == ["[vllm] Cancelling the request", "[vllm] Successfully cancelled the request"]
        )
    )
    wait_for(lambda: counted(pb_utils, "request_cancellations_total") == 1)
    wait_for(lambda: counted(pb_utils, "num_requests_running") == 0)


def test_what_a_lagging_sender_leaves_is_merged_by_the_engine(service: Service, engine: FakeEngine) -> None:
    ahead = 0

    async def fast(job: Any) -> AsyncIterator[FakeOutput]:
        nonlocal ahead
        for number in range(200):
            ahead = number
            yield delta(f" {number}", "length" if number == 199 else None)
            await asyncio.sleep(0)

    engine.script, engine.merges = fast, True
    request = Request(text_input="Hi", stream=True, delay=0.005)
    service.execute([request])
    wait_for(lambda: len(request.sender.responses) == 10)
    # An engine that merges is not asked for more than one output per response.
    assert ahead <= 3 * len(request.sender.responses)
    assert "".join(response.texts[0] for response in request.sender.wait()) == "".join(
        f" {number}" for number in range(200)
    )


def test_nothing_keeps_a_sender_after_its_last_response(service: Service, engine: FakeEngine) -> None:
    """An older Triton unloads no model as long as one of its senders lives."""

    async def slow(job: Any) -> AsyncIterator[FakeOutput]:
        # So that the search for clients that went away comes by.
        await asyncio.sleep(0.3)
        yield delta(" a", "length")

    engine.script = slow
    request = Request(text_input="Hi")
    service.execute([request])
    assert request.sender.wait()
    sender = weakref.ref(request.sender)
    del request
    wait_for(lambda: sender() is None)


def test_a_request_cancelled_while_its_sender_lags_is_answered(service: Service, engine: FakeEngine) -> None:
    engine.script, engine.merges = endless, True
    request = Request(text_input="Hi", stream=True, delay=0.05)
    service.execute([request])
    wait_for(lambda: len(request.sender.responses) > 2)
    request.sender.cancelled = True
    assert request.sender.wait()[-1].error.code == "CANCELLED"
    assert engine.aborted == [engine.jobs[0].request_id]


def test_when_the_worker_dies_every_request_is_answered(
    service: Service, engine: FakeEngine, worker: FakeWorker, failures: list[str]
) -> None:
    engine.script = endless
    requests = [Request(text_input="Hi", stream=number % 2 == 0) for number in range(10)]
    service.execute(requests)
    wait_for(lambda: len(engine.jobs) == 10)
    worker.die()
    for request in requests:
        error = request.sender.wait()[-1].error
        assert (error.code, error.text) == (
            "UNAVAILABLE",
            "Model is unavailable due to unhealthy vLLM engine: its process is gone",
        )
    late = Request(text_input="Hi")
    service.execute([late])
    assert late.sender.wait()[0].error.code == "UNAVAILABLE"
    assert failures == ["failed"]
    assert service.drain(timeout=5)


def test_draining_lets_requests_end_and_refuses_new_ones(
    service: Service, engine: FakeEngine, worker: FakeWorker
) -> None:
    release = asyncio.Event()

    async def held(job: Any) -> AsyncIterator[FakeOutput]:
        await release.wait()
        yield delta(" a", "stop")

    engine.script = held
    accepted, late = Request(text_input="Hi"), Request(text_input="Hi")
    service.execute([accepted])
    wait_for(lambda: bool(engine.jobs))
    assert not service.drain(timeout=0.05)
    service.execute([late])
    assert late.sender.wait()[0].error.code == "UNAVAILABLE"
    worker.loop.call_soon_threadsafe(release.set)
    assert service.drain(timeout=5)
    assert accepted.sender.wait()[0].texts == ["Hi a"]


def test_a_dead_engine_is_reported_once_and_refuses_at_once(
    service: Service, engine: FakeEngine, failures: list[str]
) -> None:
    engine.failed = True
    wait_for(lambda: bool(failures))
    request = Request(text_input="Hi")
    service.execute([request])
    error = request.sender.wait()[0].error
    assert (error.code, error.text) == (
        "UNAVAILABLE",
        "Model is unavailable due to unhealthy vLLM engine",
    )
    assert not service.healthy
    time.sleep(0.25)
    assert failures == ["failed"]


def test_the_health_check_asks_the_engine(service: Service, engine: FakeEngine, failures: list[str]) -> None:
    service._health_check = True
    engine.health = RuntimeError("sick")
    for _ in range(2):
        request = Request(text_input="Hi")
        service.execute([request])
        assert request.sender.wait()[0].error.text == "Model is unavailable due to unhealthy vLLM engine"
    assert failures == ["failed"]


def test_an_embedding_request_gets_its_vector_and_the_counts_that_are_wanted(service: Service) -> None:
    request = Request(text_input="", embedding_request='{"input": "Hi"}')
    service.execute([request])
    (response,) = request.sender.wait()
    assert response.texts == ["[0.5, -1.0]"]
    assert set(response.outputs) == {"text_output"}
    flags = ("return_num_input_tokens", "return_num_output_tokens", "return_finish_reason")
    request = Request(text_input="", embedding_request='{"input": "Hi"}', **dict.fromkeys(flags, True))
    service.execute([request])
    (response,) = request.sender.wait()
    assert set(response.outputs) == {"text_output", "num_input_tokens", "num_output_tokens"}
    assert response.outputs["num_input_tokens"].tolist() == [3]
    assert response.outputs["num_output_tokens"].tolist() == [0]


def test_an_image_that_is_none_is_named(service: Service) -> None:
    request = Request(text_input="Hi", image=["%%%"])
    pytest.importorskip("PIL")
    service.execute([request])
    assert request.sender.wait()[0].error.text.startswith('input "image" element 0 is not base64')


def test_a_conversation_is_written_with_the_models_template(service: Service, engine: FakeEngine) -> None:
    request = Request(messages='[{"role": "user", "content": "Hi"}]')
    service.execute([request])
    assert request.sender.wait()[0].texts == [" a b c"]
    assert engine.jobs[0].prompt == "<user>Hi"


def test_token_ids_go_in_and_come_out(service: Service, engine: FakeEngine) -> None:
    request = Request(input_token_ids=np.array([5, 6]), return_token_ids=True)
    service.execute([request])
    (response,) = request.sender.wait()
    assert response.outputs["token_ids"].tolist() == [b"[7, 7, 7]"]
    assert engine.jobs[0].prompt == (5, 6)


def test_a_streams_token_ids_are_those_of_its_text(service: Service) -> None:
    request = Request(text_input="Hi", stream=True, return_token_ids=True)
    service.execute([request])
    ids = [json.loads(response.outputs["token_ids"][0]) for response in request.sender.wait()]
    assert list(itertools.chain(*ids)) == [7, 7, 7]


def test_the_priority_reaches_the_engine(service: Service, engine: FakeEngine) -> None:
    request = Request({"priority": -2}, text_input="Hi")
    service.execute([request])
    request.sender.wait()
    assert engine.jobs[0].priority == -2


def test_a_priority_that_the_engine_would_ignore_is_refused(service: Service) -> None:
    service._takes_priority = False
    refused, plain = Request({"priority": 1}, text_input="Hi"), Request({"priority": 0}, text_input="Hi")
    service.execute([refused, plain])
    error = refused.sender.wait()[0].error
    assert error.text == 'parameter "priority" needs "scheduling_policy": "priority" in model.json'
    assert plain.sender.wait()[0].error is None


def test_a_request_ends_when_its_time_is_over(service: Service, engine: FakeEngine) -> None:
    engine.script = endless
    late, patient = (
        Request({"timeout": timeout}, text_input="Hi", stream=True) for timeout in (50_000, 60_000_000)
    )
    service.execute([late, patient])
    error = late.sender.wait()[-1].error
    assert (error.code, error.text) == ("CANCELLED", "the request's timeout of 0.05 s passed")
    assert engine.aborted == [engine.jobs[0].request_id]
    assert not patient.sender.finished.is_set()


def test_what_the_model_cannot_do_is_refused_in_the_known_words(service: Service) -> None:
    service._tasks = frozenset({"generate"})
    request = Request(text_input="", embedding_request='{"input": "Hi"}')
    service.execute([request])
    error = request.sender.wait()[0].error
    assert (error.code, error.text) == ("INVALID_ARG", "Model m does not support 'embed' request")


def test_what_an_engine_tells_late_of_a_cancelled_request_does_not_stay(
    service: Service, engine: FakeEngine, worker: FakeWorker, recorder: Recorder, pb_utils: Any
) -> None:
    async def abort(request_id: str) -> None:
        worker.loop.call_later(0.001, recorder.level, "num_requests_running", 5)

    engine.script, engine.abort = endless, abort  # type: ignore[method-assign]
    recorder.level("num_requests_running", 1)
    request = Request(text_input="Hi", stream=True)
    service.execute([request])
    wait_for(lambda: counted(pb_utils, "num_requests_running") == 1)
    request.sender.cancelled = True
    request.sender.wait()
    time.sleep(0.3)
    assert counted(pb_utils, "num_requests_running") == 0
