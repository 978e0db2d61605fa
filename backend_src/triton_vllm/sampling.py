"""From what a client sent to the engine's sampling parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm.errors import RequestError, did_you_mean, shown
from triton_vllm.fields import Field, coerce
from triton_vllm.jsontext import JsonProblem, parse_object

LORA_NAME = "lora_name"
# Spellings of the same request in different releases of the backend.
STRUCTURED = ("structured_outputs", "guided_decoding")


@dataclass(frozen=True)
class Sampling:
    """A request's sampling values, checked for name and type but not yet for range."""

    values: Mapping[str, Any]
    structured: Mapping[str, Any] | None = None
    lora_name: str | None = None


def parse_sampling(raw: Mapping[str, Any], fields: Mapping[str, Field]) -> Sampling:
    """Check names and types against the engine's fields. Raises RequestError."""
    values: dict[str, Any] = {}
    structured: Mapping[str, Any] | None = None
    lora_name: str | None = None
    for name, value in raw.items():
        if name == LORA_NAME:
            lora_name = _lora_name(value)
        elif name in STRUCTURED and any(spelling in fields for spelling in STRUCTURED):
            if structured is not None:
                msg = f'parameters "{STRUCTURED[0]}" and "{STRUCTURED[1]}" exclude each other'
                raise RequestError(msg)
            structured = _structured(name, value)
        elif name in fields:
            values[name] = coerce(fields[name], value)
        else:
            known = [*fields, LORA_NAME]
            msg = f'unknown parameter "{name}"{did_you_mean(name, known)}'
            raise RequestError(msg)
    _check_seed(values)
    return Sampling(values, structured, lora_name)


def _lora_name(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    msg = f'parameter "{LORA_NAME}" must be a string, got {shown(value)}'
    raise RequestError(msg)


def _structured(name: str, value: Any) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = parse_object(value)
        except JsonProblem as problem:
            msg = f'parameter "{name}" {problem}'
            raise RequestError(msg) from None
    if not isinstance(value, dict):
        msg = f'parameter "{name}" must be an object or its JSON text, got {shown(value)}'
        raise RequestError(msg)
    return value


def _check_seed(values: Mapping[str, Any]) -> None:
    # The engine derives the seeds of n sequences by adding to it: keep the sum in 64 bits, or the
    # engine's process would die of it.
    seed, count = values.get("seed"), values.get("n") or 1
    if seed is not None and seed + count >= 2**63:
        msg = f'parameter "seed" must be below 2**63 - n, got {seed}'
        raise RequestError(msg)
