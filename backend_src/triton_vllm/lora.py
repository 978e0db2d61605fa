"""multi_lora.json: the LoRA adapters of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_vllm.engines.interface import Lora
from triton_vllm.errors import ModelError, RequestError, shown
from triton_vllm.jsontext import JsonProblem, parse_object

FILE_NAME = "multi_lora.json"


def is_enabled(engine_args: Mapping[str, Any]) -> bool:
    """Return whether model.json turns LoRA on, as a boolean or as a string."""
    return str(engine_args.get("enable_lora", False)).lower() == "true"


def read_loras(path: str) -> dict[str, Lora]:
    """Read the adapters by name. Raises ModelError."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            entries = parse_object(file.read())
    except FileNotFoundError:
        msg = f"'{FILE_NAME}' is needed because model.json sets enable_lora: {path} is missing"
        raise ModelError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{FILE_NAME} cannot be read: {error}"
        raise ModelError(msg) from None
    except JsonProblem as problem:
        msg = f"{FILE_NAME} {problem}"
        raise ModelError(msg) from None
    for name, value in entries.items():
        if not isinstance(value, str) or not value:
            msg = f'{FILE_NAME}: "{name}" must be a folder or a model name, not {shown(value)}'
            raise ModelError(msg)
    return {name: Lora(name, number, value) for number, (name, value) in enumerate(entries.items(), start=1)}


def choose_lora(name: str | None, loras: Mapping[str, Lora] | None) -> Lora | None:
    """Return the adapter of that name; `loras` is None when LoRA is off. Raises RequestError."""
    if name is None:
        return None
    if loras is None:
        msg = "LoRA feature is not enabled."
        raise RequestError(msg)
    if name not in loras:
        msg = f"LoRA {name} is not supported, we currently support {list(loras)}"
        raise RequestError(msg)
    return loras[name]
