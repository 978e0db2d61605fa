"""model.json: the engine's arguments, checked before the engine is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from triton_vllm.errors import ModelError, did_you_mean, shown
from triton_vllm.jsontext import JsonProblem, parse_object

FILE_NAME = "model.json"


def read_engine_args(path: str) -> dict[str, Any]:
    """Read the engine's arguments from model.json. Raises ModelError."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except FileNotFoundError:
        msg = f"'{FILE_NAME}' containing vllm engine args must be provided in {path}"
        raise ModelError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{FILE_NAME} cannot be read: {error}"
        raise ModelError(msg) from None
    try:
        return parse_object(text)
    except JsonProblem as problem:
        msg = f"{FILE_NAME} {problem}"
        raise ModelError(msg) from None


def check_engine_args(
    engine_args: Mapping[str, Any], fields: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Check keys and simple values against `fields` (name to type, see `enginefields`).

    Returns the arguments to use, with booleans written as strings turned into booleans, and the
    warnings to log. Raises ModelError that lists every mistake.
    """
    checked: dict[str, Any] = {}
    warnings: list[str] = []
    mistakes: list[str] = []
    for key, value in engine_args.items():
        if key in fields:
            kind = fields[key]
            if kind.startswith("bool") and value in ("true", "false", "True", "False"):
                value = value.lower() == "true"
            if not _fits(value, kind):
                expected = kind.rstrip("?").replace("bool", "true or false")
                mistakes.append(f'"{key}" must be {_article(expected)}, not {shown(value)}')
            checked[key] = value
        elif key == "disable_log_requests" and "enable_log_requests" in fields:
            # Renamed by vLLM 0.10.2; existing model.json files still have the old name.
            checked["enable_log_requests"] = not value
            warnings.append(
                f'{FILE_NAME}: "disable_log_requests" is gone from this vLLM, '
                f'used as "enable_log_requests": {str(not value).lower()}'
            )
        else:
            mistakes.append(f'unknown key "{key}"{did_you_mean(key, fields)}')
    if not engine_args.get("model"):
        mistakes.append('"model" is missing: a model name or folder')
    if mistakes:
        msg = f"{FILE_NAME}: {'; '.join(mistakes)}"
        raise ModelError(msg)
    return checked, warnings


def _fits(value: Any, kind: str) -> bool:
    if value is None:
        # Many plain types have None as a default that vLLM fills in.
        return True
    name = kind.rstrip("?")
    tests: dict[str, Callable[[Any], bool]] = {
        "bool": lambda v: isinstance(v, bool),
        # An int argument may also take a text such as "8k" or "auto": leave texts to vLLM.
        "int": lambda v: isinstance(v, (int, str)) and not isinstance(v, bool),
        "float": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
        "str": lambda v: isinstance(v, str),
    }
    return tests[name](value) if name in tests else True


def _article(expected: str) -> str:
    names = {"int": "an integer", "float": "a number", "str": "a string"}
    return names.get(expected, expected)
