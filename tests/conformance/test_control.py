"""Models come and go while the server runs, and an engine that dies is told from one that lives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.metrics import read_page, read_samples
from tests.conformance.processes import engines_of, list_processes, processes_of, wait_for
from tests.conformance.streams import stream_to
from tests.image.repository import load_request
from tests.image.serving import Reply, check_output

PROMPT = "The future of AI is"
UNHEALTHY = "Model is unavailable due to unhealthy vLLM engine"
GONE_WITHIN = 5
LONG = 230


@pytest.fixture
def spare(fleet: Fleet) -> Iterator[Fleet]:
    """A model that is not loaded, neither before a test nor after it."""
    yield fleet.of("spare")
    control(fleet.of("spare"), "unload")


def control(model: Fleet, verb: str, **parameters: str) -> Reply:
    body = load_request(model.spec, **parameters) if parameters else {}
    return model.post(f"/v2/repository/models/{model.model}/{verb}", body)


def is_ready(model: Fleet) -> bool:
    return model.get(f"/v2/models/{model.model}/ready").status == 200


def test_model_comes_and_goes_several_times(spare: Fleet) -> None:
    expected = spare.of("text").answer(PROMPT)
    others = {pid for pid, _, _ in list_processes(spare)}
    for use in (answer_then_unload, unload_while_a_request_is_on_its_way):
        assert not is_ready(spare)
        # "false" is how to say that metrics are off.
        assert control(spare, "load", REPORT_CUSTOM_METRICS="false").status == 200
        assert is_ready(spare)
        assert engines_of(spare, "spare")
        use(spare, expected)
        # Unloading is answered before it is over.
        assert wait_for(lambda: not processes_of(spare, "spare"), GONE_WITHIN), processes_of(spare, "spare")
        assert not is_ready(spare)
        assert "no available versions" in spare.ask(PROMPT).json()["error"]
        assert spare.of("text").answer(PROMPT) == expected
    assert wait_for(lambda: {pid for pid, _, _ in list_processes(spare)} <= others, GONE_WITHIN), [
        process for process in list_processes(spare) if process[0] not in others
    ]


def answer_then_unload(spare: Fleet, expected: str) -> None:
    assert spare.answer(PROMPT) == expected
    assert read_samples(read_page(spare), "spare") == {}
    assert control(spare, "unload").status == 200


def unload_while_a_request_is_on_its_way(spare: Fleet, expected: str) -> None:
    assert spare.answer(PROMPT) == expected
    sampling = json.dumps({"temperature": 0, "max_tokens": LONG, "ignore_eos": True})
    with stream_to(spare.address) as stream:
        inputs = {"text_input": PROMPT, "stream": True, "sampling_parameters": sampling}
        stream.send("spare", inputs)
        events = [stream.next()]
        assert control(spare, "unload").status == 200
        while not events[-1].final:
            events.append(stream.next())
    assert [event.error for event in events if event.error is not None] == []
    texts = [event.response.as_numpy("text_output")[0].decode() for event in events]
    assert len("".join(texts)) == LONG


def test_health_check_passes_healthy_engines_and_refuses_for_dead_ones(spare: Fleet) -> None:
    assert control(spare, "load", ENABLE_VLLM_HEALTH_CHECK="true").status == 200
    expected = spare.of("text").answer(PROMPT)
    assert [spare.answer(PROMPT) for _ in range(3)] == [expected] * 3

    (engine,) = engines_of(spare, "spare")
    check_output(spare.container, ["sh", "-c", f"kill -9 {engine}"])
    first = spare.ask(PROMPT)
    assert first.status >= 400
    assert UNHEALTHY in first.json()["error"] or "no available versions" in first.json()["error"]

    assert wait_for(lambda: not is_ready(spare), 10)
    assert "Request for unknown model: 'spare' has no available versions" in spare.ask(PROMPT).json()["error"]
    assert wait_for(lambda: not processes_of(spare, "spare"), GONE_WITHIN), processes_of(spare, "spare")
    assert spare.of("text").answer(PROMPT) == expected

    assert control(spare, "load").status == 200
    assert spare.answer(PROMPT) == expected


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("wrong_key", 'unknown key "invalid_attribute"'),
        pytest.param(
            "no_adapters",
            "'multi_lora.json' is needed because model.json sets enable_lora",
            marks=pytest.mark.engine_has("enable_lora"),
        ),
        pytest.param(
            "no_adapters",
            'unknown key "enable_lora"',
            marks=pytest.mark.engine_lacks("enable_lora"),
            id="no_lora",
        ),
        ("wrong_model", "no_such_model"),
    ],
)
def test_model_that_cannot_be_loaded_says_why(fleet: Fleet, model: str, named: str) -> None:
    started = time.monotonic()
    reply = control(fleet.of(model), "load")
    assert reply.status == 400, reply.text
    assert named in reply.json()["error"]
    if model != "wrong_model":
        # A mistake in a file needs no engine to be seen.
        assert time.monotonic() - started < 10
    assert not is_ready(fleet.of(model))
    assert wait_for(lambda: not processes_of(fleet, model), GONE_WITHIN), processes_of(fleet, model)
    assert fleet.answer(PROMPT)


def test_backend_is_given_the_flags_of_the_python_backend(fleet: Fleet) -> None:
    """Both log what they are given; upstream's test only warns where this one fails."""
    log = fleet.container.logs().decode(errors="replace")
    assert log.count('"default-max-batch-size":"8"') == 2
    # The engine batches, Triton must not, whatever it is told.
    assert fleet.get("/v2/models/text/config").json()["max_batch_size"] == 0
    assert fleet.answer(PROMPT)
