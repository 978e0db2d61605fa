"""From Triton's request to ours, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm.contract import FLAGS
from triton_vllm.conversation import parse_messages
from triton_vllm.errors import RequestError, shown
from triton_vllm.fields import Field, coerce
from triton_vllm.jsontext import JsonProblem, parse_object
from triton_vllm.sampling import Sampling, parse_sampling

STREAM_WITH_INPUT = "When streaming, `exclude_input_in_output` = False is not allowed."
# Parameters that Triton itself adds to a request.
TRITON_PARAMETERS = frozenset({"id", "binary_data_output", "sequence_id", "sequence_start", "sequence_end"})
# Triton's own request parameters: of a request, and in microseconds, with 0 for none.
PRIORITY_LIMIT = 2**31 - 1
TIMEOUT_LIMIT = 2**53
MICROSECONDS = 1_000_000
TRACE_HEADERS = frozenset({"traceparent", "tracestate"})


@dataclass(frozen=True)
class Wanted:
    """Which outputs beside the text a client asked for."""

    finish_reason: bool = False
    cumulative_logprob: bool = False
    logprobs: bool = False
    num_input_tokens: bool = False
    num_output_tokens: bool = False
    token_ids: bool = False

    @property
    def counts(self) -> Wanted:
        """What an embedding request has of it."""
        return Wanted(num_input_tokens=self.num_input_tokens, num_output_tokens=self.num_output_tokens)


@dataclass(frozen=True)
class GenerateRequest:
    """What to continue (a text, a conversation or token ids) and how.

    A lower `priority` goes first; `timeout` is in seconds.
    """

    prompt: str
    stream: bool
    prepend_input: bool
    sampling: Sampling
    wanted: Wanted
    images: tuple[bytes, ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()
    token_ids: tuple[int, ...] = ()
    priority: int = 0
    timeout: float | None = None
    trace_headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class EmbedRequest:
    """A request for a vector, in the form that the OpenAI-compatible frontend sends."""

    body: Mapping[str, Any]
    trace_headers: Mapping[str, str] | None = None
    wanted: Wanted = Wanted()


def parse_request(request: Any, pb_utils: Any, fields: Mapping[str, Field]) -> Any:
    """Return a GenerateRequest or an EmbedRequest. Raises RequestError."""
    parameters, headers = _request_parameters(request, fields)
    embedding = _text(request, pb_utils, "embedding_request")
    flags = {name: _flag(request, pb_utils, name, parameters) for name in FLAGS}
    if embedding:
        return EmbedRequest(_json_object("embedding_request", embedding), headers, _wanted(flags).counts)

    prompt = _text(request, pb_utils, "text_input")
    messages = parse_messages(_text(request, pb_utils, "messages"))
    token_ids = _token_ids(request, pb_utils)
    if prompt is None and not (messages or token_ids):
        msg = 'input "text_input" is missing; "messages" or "input_token_ids" may take its place'
        raise RequestError(msg)
    if bool(prompt) + bool(messages) + bool(token_ids) > 1:
        msg = 'inputs "text_input", "messages" and "input_token_ids" exclude each other'
        raise RequestError(msg)
    text = _text(request, pb_utils, "sampling_parameters")
    raw = _json_object("sampling_parameters", text) if text else parameters
    priority = _whole_number("priority", raw.pop("priority", None), -PRIORITY_LIMIT, PRIORITY_LIMIT)
    timeout = _whole_number("timeout", raw.pop("timeout", _triton_timeout(request)), 0, TIMEOUT_LIMIT)

    stream = bool(flags["stream"])
    exclude = flags["exclude_input_in_output"]
    if stream and exclude is False:
        raise RequestError(STREAM_WITH_INPUT)
    return GenerateRequest(
        prompt=prompt or "",
        stream=stream,
        prepend_input=not (stream or exclude or messages or token_ids),
        sampling=parse_sampling(raw, fields),
        wanted=_wanted(flags),
        images=_byte_list(request, pb_utils, "image"),
        messages=messages,
        token_ids=token_ids,
        priority=priority,
        timeout=timeout / MICROSECONDS if timeout else None,
        trace_headers=headers,
    )


def _wanted(flags: Mapping[str, bool | None]) -> Wanted:
    return Wanted(
        finish_reason=bool(flags["return_finish_reason"]),
        cumulative_logprob=bool(flags["return_cumulative_logprob"]),
        logprobs=bool(flags["return_logprobs"]),
        num_input_tokens=bool(flags["return_num_input_tokens"]),
        num_output_tokens=bool(flags["return_num_output_tokens"]),
        token_ids=bool(flags["return_token_ids"]),
    )


def _request_parameters(
    request: Any, fields: Mapping[str, Field]
) -> tuple[dict[str, Any], dict[str, str] | None]:
    text = request.parameters()
    if not text or text == "{}":
        return {}, None
    parameters = json.loads(text)
    headers: dict[str, str] = {}
    for name in list(parameters):
        if name in TRITON_PARAMETERS or name.startswith("triton_"):
            del parameters[name]
        elif name.lower() in TRACE_HEADERS:
            headers[name.lower()] = str(parameters.pop(name))
        elif "-" in name and name.replace("-", "_") not in fields:
            # A header that the server was told to forward; no sampling parameter has a hyphen.
            del parameters[name]
    return parameters, headers or None


def _triton_timeout(request: Any) -> Any:
    # Where the protocol has a field for it, Triton takes it out of the parameters.
    timeout = getattr(request, "timeout", None)
    return timeout() if callable(timeout) else None


def _whole_number(name: str, value: Any, lowest: int, highest: int) -> int:
    if value is None:
        return 0
    number = coerce(Field(name, frozenset({"int"})), value)
    if not lowest <= number <= highest:
        msg = f'parameter "{name}" must be from {lowest} to {highest}, got {number}'
        raise RequestError(msg)
    return int(number)


def _token_ids(request: Any, pb_utils: Any) -> tuple[int, ...]:
    elements = _elements(request, pb_utils, "input_token_ids")
    if elements is None:
        return ()
    if len(elements) == 0 or elements.min() < 0:
        msg = 'input "input_token_ids" must have one token id or more, and none below 0'
        raise RequestError(msg)
    return tuple(elements.tolist())


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        return parse_object(text)
    except JsonProblem as problem:
        msg = f'input "{name}" {problem}'
        raise RequestError(msg) from None


def _elements(request: Any, pb_utils: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1)


def _text(request: Any, pb_utils: Any, name: str) -> str | None:
    elements = _elements(request, pb_utils, name)
    if elements is None:
        return None
    if len(elements) != 1:
        msg = f'input "{name}" must have one element, got {len(elements)}'
        raise RequestError(msg)
    value = elements[0]
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f'input "{name}" is not valid UTF-8: byte {error.start} is {value[error.start]:#04x}'
        raise RequestError(msg) from None


def _flag(request: Any, pb_utils: Any, name: str, parameters: dict[str, Any]) -> bool | None:
    elements = _elements(request, pb_utils, name)
    # A client may also send a flag among the parameters, where a tensor of the name wins.
    parameter = parameters.pop(name, None)
    if elements is None:
        if parameter is None or isinstance(parameter, bool):
            return parameter
        if str(parameter).lower() in ("true", "false"):
            return str(parameter).lower() == "true"
        msg = f'parameter "{name}" must be true or false, got {shown(parameter)}'
        raise RequestError(msg)
    if len(elements) != 1:
        msg = f'input "{name}" must have one element, got {len(elements)}'
        raise RequestError(msg)
    return bool(elements[0])


def _byte_list(request: Any, pb_utils: Any, name: str) -> tuple[bytes, ...]:
    elements = _elements(request, pb_utils, name)
    if elements is None:
        return ()
    return tuple(value.encode() if isinstance(value, str) else bytes(value) for value in elements)
