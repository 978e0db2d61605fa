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
# What only `guided_decoding` has: its backend, which later engines choose themselves, and remarks on it.
BACKEND = "backend"
BACKEND_REMARKS = frozenset({"backend_was_auto", "disable_fallback"})
# Backends that mean no more than the engine's own choice.
OWN_CHOICE = ("auto", "xgrammar", "xgrammar:no-fallback", "xgrammar:_auto")


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
            structured = _structured(name, value, has_backend="guided_decoding" in fields)
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


def _structured(name: str, value: Any, *, has_backend: bool) -> Mapping[str, Any] | None:
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
    # Upstream's OpenAI frontend sends all fields of vLLM's class, also those unset and those private.
    given = {key: item for key, item in value.items() if item is not None and not key.startswith("_")}
    return given if has_backend else _without_backend(name, given)


def _without_backend(name: str, given: dict[str, Any]) -> dict[str, Any]:
    backend = given.get(BACKEND, OWN_CHOICE[0])
    if backend not in OWN_CHOICE:
        msg = f'parameter "{name}": this engine chooses the backend itself, got {shown(backend)}'
        raise RequestError(msg)
    return {key: item for key, item in given.items() if key != BACKEND and key not in BACKEND_REMARKS}


def _check_seed(values: Mapping[str, Any]) -> None:
    # The engine derives the seeds of n sequences by adding to it: keep the sum in 64 bits, or the
    # engine's process would die of it.
    seed, count = values.get("seed"), values.get("n") or 1
    if seed is not None and seed + count >= 2**63:
        msg = f'parameter "seed" must be below 2**63 - n, got {seed}'
        raise RequestError(msg)
