"""The server as it starts by default: ready, of the row's version, and cut off from any network."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.image.places import METRICS, Place
from tests.image.serving import Server, check_output, execute, log_tail
from tritonbuild.spec import BuildSpec


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/vllm_model/ready"])
def test_reports_ready(server: Server, path: str) -> None:
    reply = server.get(path)
    assert reply.status == 200, reply.text


def test_server_has_the_version_of_the_row(server: Server, spec: BuildSpec) -> None:
    metadata = server.get("/v2").json()
    assert (metadata["name"], metadata["version"]) == ("triton", spec.triton)


def test_model_has_the_inputs_and_outputs_of_a_vllm_model(server: Server) -> None:
    metadata = server.get("/v2/models/vllm_model").json()
    assert metadata["versions"] == ["1"]
    assert {"text_input", "stream", "sampling_parameters", "exclude_input_in_output"} <= {
        tensor["name"] for tensor in metadata["inputs"]
    }
    assert "text_output" in {tensor["name"] for tensor in metadata["outputs"]}


@pytest.mark.needs("engine")
def test_engine_reports_the_container_healthy(server: Server) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        server.container.reload()
        health = server.container.attrs["State"]["Health"]
        if health["Status"] == "healthy":
            return
        assert health["Status"] == "starting", health["Log"][-1:]
        time.sleep(1)
    pytest.fail(f"still {health['Status']}: {health['Log'][-1:]}\n{log_tail(server.container)}")


def test_health_check_fails_where_no_server_runs(settings: dict[str, Any], box: Place) -> None:
    kind, *command = settings["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert execute(box, command).code != 0


@pytest.mark.needs("inside")
def test_server_has_no_network_but_the_loopback(
    server: Server, description: dict[str, Any], standin: object
) -> None:
    """What the other tests are told, the image therefore knows by itself."""
    if not (description["model"] or standin):
        pytest.skip("this image carries no model and has to download one")
    lines = check_output(server.container, ["cat", "/proc/net/dev"]).splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in lines] == ["lo"]
    assert len(check_output(server.container, ["cat", "/proc/net/route"]).splitlines()) == 1


@pytest.mark.needs("inside")
def test_server_runs_as_uid_1000(server: Server) -> None:
    pid = "$(pgrep -o -x tritonserver 2>/dev/null || echo 1)"
    status = check_output(server.container, ["sh", "-c", f"cat /proc/{pid}/status"])
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert uids == ["1000"] * 4


@pytest.mark.needs("inside")
def test_stub_does_not_carry_the_engine(server: Server) -> None:
    """vLLM belongs to the worker alone: in the stub it would cost seconds of start and share its lock."""
    script = (
        "for maps in $(grep -l triton_python_backend_stub /proc/[0-9]*/maps 2>/dev/null); do"
        " echo found; grep -o -m 1 libtorch_cpu.so $maps; done; true"
    )
    assert set(check_output(server.container, ["sh", "-c", script]).split()) == {"found"}


def test_default_model_reports_no_vllm_metrics(server: Server) -> None:
    page = server.get("/metrics", port=METRICS).text
    assert "nv_inference_request_success" in page
    assert "vllm:" not in page
