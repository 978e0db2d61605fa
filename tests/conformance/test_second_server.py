"""Two servers share one machine, each with a prefix of its own in shared memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from tests.conformance.conftest import SECOND_HTTP, SECOND_METRICS
from tests.conformance.fleet import Fleet
from tests.conformance.processes import list_processes, wait_for
from tests.conformance.repository import REPOSITORY
from tests.image.repository import load_request
from tests.image.serving import Reply, check_output

PROMPT = "The future of AI is"
PID_FILE, LOG = "/tmp/second.pid", "/tmp/second.log"
COMMAND = f"""echo $$ > {PID_FILE}; exec tritonserver --model-repository={REPOSITORY} \
--model-control-mode=explicit --http-port={SECOND_HTTP} --grpc-port=9001 \
--metrics-port={SECOND_METRICS} --allow-metrics=false \
--backend-config=python,shm-region-prefix-name=second > {LOG} 2>&1"""
BODY = {"text_input": PROMPT, "parameters": {"temperature": 0, "max_tokens": 12}}


@dataclass(frozen=True)
class Second:
    """A server in the container of another one."""

    fleet: Fleet
    pid: int

    def request(self, method: str, path: str, body: object = None) -> Reply:
        text = None if body is None else json.dumps(body)
        return self.fleet.client.request(method, path, text, port=SECOND_HTTP)

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/v2/health/ready").status == 200
        except OSError:
            return False

    def is_running(self) -> bool:
        return any(pid == self.pid for pid, _, _ in list_processes(self.fleet))


@pytest.fixture(scope="module")
def second(fleet: Fleet) -> Iterator[Second]:
    fleet.container.exec_run(["sh", "-c", COMMAND], detach=True)
    pid = int(check_output(fleet.container, ["sh", "-c", f"sleep 1; cat {PID_FILE}"]))
    server = Second(fleet, pid)
    ready = wait_for(lambda: server.is_ready() or not server.is_running(), 60)
    if not (ready and server.is_running()):
        pytest.fail(check_output(fleet.container, ["tail", "-n", "30", LOG]), pytrace=False)
    load = load_request(fleet.spec, REPORT_CUSTOM_METRICS="true")
    loaded = server.request("POST", "/v2/repository/models/spare/load", load)
    assert loaded.status == 200, loaded.text
    yield server
    check_output(fleet.container, ["sh", "-c", f"kill -9 {pid} 2>/dev/null || true"])


def list_segments(fleet: Fleet, prefix: str) -> list[str]:
    return [
        name for name in check_output(fleet.container, ["ls", "/dev/shm"]).split() if name.startswith(prefix)
    ]


def test_both_servers_answer(second: Second) -> None:
    reply = second.request("POST", "/v2/models/spare/generate", BODY)
    assert reply.status == 200, reply.text
    assert reply.json()["text_output"] == second.fleet.answer(PROMPT, max_tokens=12)


def test_each_server_has_its_own_shared_memory(second: Second) -> None:
    assert list_segments(second.fleet, "first")
    assert list_segments(second.fleet, "second")


def test_server_without_metrics_serves_a_model_that_has_some(second: Second) -> None:
    assert second.request("GET", "/v2/models/spare/ready").status == 200
    with pytest.raises(requests.ConnectionError):
        second.fleet.get("/metrics", port=SECOND_METRICS)


def test_end_of_one_server_leaves_the_other(second: Second) -> None:
    check_output(second.fleet.container, ["sh", "-c", f"kill -TERM {second.pid}"])
    assert wait_for(lambda: not second.is_running(), 40), check_output(
        second.fleet.container, ["tail", "-n", "30", LOG]
    )
    assert list_segments(second.fleet, "second") == []
    assert second.fleet.answer(PROMPT, max_tokens=12)
