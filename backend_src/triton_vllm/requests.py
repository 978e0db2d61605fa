"""From Triton's request to ours, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm.contract import FLAGS
from triton_vllm.errors import RequestError, shown
from triton_vllm.fields import Field
from triton_vllm.jsontext import JsonProblem, parse_object
from triton_vllm.sampling import Sampling, parse_sampling

STREAM_WITH_INPUT = "When streaming, `exclude_input_in_output` = False is not allowed."
# Parameters that Triton itself adds to a request.
TRITON_PARAMETERS = frozenset({"id", "binary_data_output", "sequence_id", "sequence_start", "sequence_end"})
TRACE_HEADERS = frozenset({"traceparent", "tracestate"})


@dataclass(frozen=True)
class Wanted:
    """Which outputs beside the text a client asked for."""

    finish_reason: bool = False
    cumulative_logprob: bool = False
    logprobs: bool = False
    num_input_tokens: bool = False
    num_output_tokens: bool = False

    @property
    def counts(self) -> Wanted:
        """What an embedding request has of it."""
        return Wanted(num_input_tokens=self.num_input_tokens, num_output_tokens=self.num_output_tokens)


@dataclass(frozen=True)
class GenerateRequest:
    """A prompt and how to continue it."""

    prompt: str
    stream: bool
    prepend_input: bool
    sampling: Sampling
    wanted: Wanted
    images: tuple[bytes, ...] = ()
    trace_headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class EmbedRequest:
    """A request for a vector, in the form that the OpenAI-compatible frontend sends."""

    body: Mapping[str, Any]
    trace_headers: Mapping[str, str] | None = None
    wanted: Wanted = Wanted()


def parse_request(request: Any, pb_utils: Any, fields: Mapping[str, Field]) -> Any:
    """Return a GenerateRequest or an EmbedRequest. Raises RequestError."""
    parameters, headers = _request_parameters(request)
    embedding = _text(request, pb_utils, "embedding_request")
    flags = {name: _flag(request, pb_utils, name, parameters) for name in FLAGS}
    if embedding:
        return EmbedRequest(_json_object("embedding_request", embedding), headers, _wanted(flags).counts)

    prompt = _text(request, pb_utils, "text_input")
    if prompt is None:
        msg = 'input "text_input" is missing'
        raise RequestError(msg)
    text = _text(request, pb_utils, "sampling_parameters")
    raw = _json_object("sampling_parameters", text) if text else parameters

    stream = bool(flags["stream"])
    exclude = flags["exclude_input_in_output"]
    if stream and exclude is False:
        raise RequestError(STREAM_WITH_INPUT)
    return GenerateRequest(
        prompt=prompt,
        stream=stream,
        prepend_input=not stream and not exclude,
        sampling=parse_sampling(raw, fields),
        wanted=_wanted(flags),
        images=_byte_list(request, pb_utils, "image"),
        trace_headers=headers,
    )


def _wanted(flags: Mapping[str, bool | None]) -> Wanted:
    return Wanted(
        finish_reason=bool(flags["return_finish_reason"]),
        cumulative_logprob=bool(flags["return_cumulative_logprob"]),
        logprobs=bool(flags["return_logprobs"]),
        num_input_tokens=bool(flags["return_num_input_tokens"]),
        num_output_tokens=bool(flags["return_num_output_tokens"]),
    )


def _request_parameters(request: Any) -> tuple[dict[str, Any], dict[str, str] | None]:
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
        elif "-" in name:
            # A header that the server was told to forward; no sampling parameter has a hyphen.
            del parameters[name]
    return parameters, headers or None


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
