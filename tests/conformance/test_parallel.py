"""An engine whose model two processes share says what one process says, and does not outlive either of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.processes import processes_of, wait_for
from tests.conformance.repository import REPOSITORY, ROOT
from tests.conformance.streams import stream_to
from tests.conformance.test_control import UNHEALTHY
from tests.image.cuda.gpus import read_gpus
from tests.image.places import GRPC, HTTP, METRICS, Starter
from tests.image.serving import PublishedClient, check_output
from tritonbuild.spec import BuildSpec

MODEL = "shared"
PROMPT = "The future of AI is"
LONG = 230
# Far more than run at once: seconds of work.
CROWD = 128
# vLLM alone takes twelve.
GONE_WITHIN = 5


@pytest.fixture(scope="module")
def shared(start: Starter, spec: BuildSpec, gpus: bool, fleet: Fleet, files: Path) -> Iterator[Fleet]:
    """A server of its own, as the variable that vLLM wants on a CPU is for all engines of a server."""
    environment = {}
    if not spec.is_cuda:
        cpus = json.loads(
            check_output(
                fleet.container, ["python3", "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
            )
        )
        environment["VLLM_CPU_OMP_THREADS_BIND"] = f"{cpus[0]}|{cpus[-1]}"
    elif len(read_gpus(fleet.container)) < 2:
        pytest.skip("this host has one GPU: tensor_parallel_size above 1 is not proven")
    command = ["tritonserver", f"--model-repository={REPOSITORY}", "--model-control-mode=explicit"]
    command.append(f"--load-model={MODEL}")
    with start(
        command, mounts={files: ROOT}, publish=(HTTP, GRPC, METRICS), gpus=gpus, environment=environment
    ) as container:
        server = Fleet(container, PublishedClient(container), MODEL, spec)
        server.wait_until_ready()
        yield server


def ranks_of(shared: Fleet) -> list[int]:
    return [pid for pid, command in processes_of(shared, MODEL) if "VLLM::Worker" in command]


def test_two_processes_say_what_one_says(shared: Fleet, fleet: Fleet) -> None:
    assert shared.answer(PROMPT) == fleet.answer(PROMPT)


@pytest.mark.engine_has("V1")
def test_death_of_one_process_is_that_of_the_engine(shared: Fleet, fleet: Fleet) -> None:
    _, victim = ranks_of(shared)
    sampling = json.dumps({"temperature": 0, "max_tokens": LONG, "ignore_eos": True})
    with stream_to(shared.address) as stream:
        for _ in range(CROWD):
            stream.send(MODEL, {"text_input": PROMPT, "stream": True, "sampling_parameters": sampling})
        stream.next()
        check_output(shared.container, ["sh", "-c", f"kill -9 {victim}"])
        assert wait_for(lambda: not ranks_of(shared), GONE_WITHIN), processes_of(shared, MODEL)
        ended: list[str | None] = []
        while len(ended) < CROWD:
            event = stream.next()
            if event.final or event.error is not None:
                ended.append(event.error and str(event.error))
    # The last ones were still waiting for their turn.
    assert UNHEALTHY in str(ended[-1])
    assert wait_for(lambda: shared.get(f"/v2/models/{MODEL}/ready").status != 200, GONE_WITHIN)
    assert shared.post(f"/v2/repository/models/{MODEL}/load", {}).status == 200
    assert shared.answer(PROMPT) == fleet.answer(PROMPT)
