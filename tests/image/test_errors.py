"""A bad request gets an error that names what is wrong, and harms nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.image.serving import Reply, Server

GENERATE = "/v2/models/vllm_model/generate"


def parameters(**values: Any) -> dict[str, Any]:
    return {"text_input": "Hello", "parameters": values}


def read_error(reply: Reply) -> str:
    assert 400 <= reply.status < 600, reply.text
    error: str = reply.json()["error"]
    assert "Traceback" not in error
    assert 'File "' not in error
    return error


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        pytest.param(GENERATE, parameters(temprature=0), "temprature", id="unknown_parameter"),
        pytest.param(GENERATE, parameters(temperature=-1), "temperature", id="temperature_below_zero"),
        pytest.param(GENERATE, parameters(temperature="warm"), "temperature", id="temperature_not_a_number"),
        pytest.param(GENERATE, parameters(max_tokens=0), "max_tokens", id="no_tokens"),
        pytest.param(
            GENERATE, {"text_input": "Hello", "sampling_parameters": "{nonsense"}, "sampling_parameters",
            id="sampling_parameters_not_json",
        ),
        pytest.param(GENERATE, {"parameters": {"temperature": 0}}, "text_input", id="no_prompt"),
        pytest.param(GENERATE, '{"text_input": ', "JSON", id="malformed_json"),
        pytest.param("/v2/models/no_such_model/generate", parameters(), "no_such_model", id="unknown_model"),
    ],
)  # fmt: skip
def test_bad_request_is_refused_by_name(server: Server, path: str, body: Any, named: str) -> None:
    assert named in read_error(server.post(path, body))
    assert server.answer("The capital of France is", max_tokens=1)


def test_bad_streaming_request_is_refused_by_name(server: Server) -> None:
    """The error comes as an event, as everything does on this path."""
    reply = server.ask("Hello", stream=True, temperature=-1)
    (event,) = reply.events()
    assert set(event) == {"error"}
    assert "temperature" in event["error"]
    assert server.answer("The capital of France is", max_tokens=1)
