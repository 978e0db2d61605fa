"""How each server is asked, and what its messages say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Endpoint, Load
from benchmarks.models import count_words


class ServerError(Exception):
    """A server answered 200 and an error."""


@dataclass(frozen=True)
class Api:
    """One server's language; `read` says how many tokens a message brought."""

    path: Callable[[Endpoint, bool], str]
    body: Callable[[Endpoint, Load, str], dict[str, Any]]
    read: Callable[[dict[str, Any], str], int]


def _openai_path(endpoint: Endpoint, stream: bool) -> str:  # noqa: ARG001  (one signature for all)
    return "/v1/completions"


def _openai_body(endpoint: Endpoint, load: Load, prompt: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": endpoint.model,
        "prompt": prompt,
        "max_tokens": load.max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": load.stream,
    }
    if load.stream and load.counting == "reported":
        body["stream_options"] = {"include_usage": True}
    return body


def _openai_read(message: dict[str, Any], counting: str) -> int:
    if "error" in message:
        raise ServerError(str(message["error"])[:200])
    if counting == "reported":
        usage = message.get("usage")
        return int(usage["completion_tokens"]) if usage else 0
    return sum(count_words(choice["text"]) for choice in message["choices"])


def _triton_path(endpoint: Endpoint, stream: bool) -> str:
    return f"/v2/models/{endpoint.model}/generate{'_stream' if stream else ''}"


def _triton_body(endpoint: Endpoint, load: Load, prompt: str) -> dict[str, Any]:  # noqa: ARG001
    body: dict[str, Any] = {
        "text_input": prompt,
        "stream": load.stream,
        "exclude_input_in_output": True,
        "parameters": {"max_tokens": load.max_tokens, "temperature": 0, "ignore_eos": True},
    }
    if load.counting == "reported":
        body["return_num_output_tokens"] = True
    return body


def _triton_read(message: dict[str, Any], counting: str) -> int:
    if "error" in message:
        raise ServerError(str(message["error"])[:200])
    if counting == "reported":
        return int(message["num_output_tokens"])
    return count_words(message["text_output"])


APIS = {
    "openai": Api(_openai_path, _openai_body, _openai_read),
    "triton": Api(_triton_path, _triton_body, _triton_read),
}


def request_head(endpoint: Endpoint, stream: bool) -> bytes:
    """Return the request's first lines, all but the content length."""
    path = APIS[endpoint.api].path(endpoint, stream)
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\n"
        "Content-Type: application/json\r\nAccept: */*\r\n"
    ).encode()


def request_body(endpoint: Endpoint, load: Load, prompt: str) -> bytes:
    """Return the request's JSON."""
    return json.dumps(APIS[endpoint.api].body(endpoint, load, prompt)).encode()
