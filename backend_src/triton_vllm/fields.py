"""Which sampling parameters an engine takes, and how a value from a client becomes one."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_type_hints

from triton_vllm.errors import RequestError, shown
from triton_vllm.jsontext import JsonProblem, parse_object

# What a number must fit in to travel to the engine's process.
INT_LIMIT = 2**63

# Kinds in the order in which a text is tried.
ORDER = (
    "bool",
    "int",
    "float",
    "list[int]",
    "list[str]",
    "list",
    "dict[int, float]",
    "dict",
    "str",
)
TITLES = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "list[int]": "a list of integers",
    "list[str]": "a list of strings",
    "list": "a list",
    "dict[int, float]": "an object of token ids and numbers",
    "dict": "an object",
}


@dataclass(frozen=True)
class Field:
    """A sampling parameter: its name, and the kinds of value that it takes (keys of TITLES)."""

    name: str
    kinds: frozenset[str]
    optional: bool = False


def read_fields(params_class: type, hidden: frozenset[str]) -> dict[str, Field]:
    """Read the fields of vLLM's SamplingParams, whichever kind of class it is in this version."""
    fields: dict[str, Field] = {}
    for name, hint in _read_hints(params_class).items():
        if name.startswith("_") or name in hidden or name in ("return", "self"):
            continue
        kinds = _kinds(hint)
        if _dataclass_of(hint) is not None:
            kinds |= {"dict"}
        fields[name] = Field(name, frozenset(kinds - {"none"}), "none" in kinds)
    return fields


def read_makers(params_class: type) -> dict[str, Callable[..., Any]]:
    """Return the classes of those fields that are objects, made from the keys of a JSON object."""
    makers = {name: _dataclass_of(hint) for name, hint in _read_hints(params_class).items()}
    return {name: maker for name, maker in makers.items() if maker is not None}


def _read_hints(params_class: type) -> dict[str, Any]:
    try:
        hints = get_type_hints(params_class)
        if "temperature" not in hints:
            constructor: Any = params_class.__init__  # type: ignore[misc]
            hints = get_type_hints(constructor)
    except Exception:
        # A name in an annotation that only exists for type checkers: go without the types.
        hints = dict.fromkeys(getattr(params_class, "__annotations__", {}), Any)
    return hints


def coerce(field: Field, value: Any) -> Any:
    """Return the value as one of the field's kinds. Raises RequestError naming field and value."""
    if value is None and field.optional:
        return None
    return _coerce_kind(field, value)


def _coerce_kind(field: Field, value: Any) -> Any:
    kinds = [kind for kind in ORDER if kind in field.kinds]
    if not kinds:
        return value
    for kind in kinds:
        fitted = _fit(kind, value)
        if fitted is not None:
            return fitted
    if isinstance(value, str):
        for kind in kinds:
            parsed = _parse(kind, value)
            if parsed is not None:
                return parsed
    expected = " or ".join(TITLES[kind] for kind in kinds)
    msg = f'parameter "{field.name}" must be {expected}, got {shown(value)}'
    raise RequestError(msg)


def _kinds(hint: Any) -> frozenset[str]:
    if hint is type(None):
        return frozenset({"none"})
    if hint in (bool, int, float, str):
        return frozenset({hint.__name__})
    origin = getattr(hint, "__origin__", None)
    arguments: tuple[Any, ...] = getattr(hint, "__args__", ()) or ()
    if origin is Union or type(hint).__name__ == "UnionType":
        return frozenset().union(*(_kinds(argument) for argument in arguments))
    if origin is list:
        inner = arguments[0] if arguments else None
        return frozenset({"list[int]" if inner is int else "list[str]" if inner is str else "list"})
    if origin is dict or hint is dict:
        return frozenset({"dict[int, float]" if arguments[:1] == (int,) else "dict"})
    if hasattr(hint, "__metadata__"):  # Annotated[...]
        return _kinds(origin)
    return frozenset()


def _dataclass_of(hint: Any) -> Callable[..., Any] | None:
    """Return the dataclass that an annotation such as `X | None` names."""
    for candidate in (hint, *(getattr(hint, "__args__", ()) or ())):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _fit(kind: str, value: Any) -> Any:
    """Return `value` as `kind` when it already means that, else None."""
    return _FIT[kind](value)


def _fit_bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _fit_int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and -INT_LIMIT <= value < INT_LIMIT else None


def _fit_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _fit_str(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _fit_list_of(fit: Callable[[Any], Any]) -> Callable[[Any], list[Any] | None]:
    def fit_list(value: Any) -> list[Any] | None:
        if not isinstance(value, list):
            return None
        fitted = [fit(item) for item in value]
        return None if any(item is None for item in fitted) else fitted

    return fit_list


def _fit_dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _fit_biases(value: Any) -> dict[int, float] | None:
    if not isinstance(value, dict):
        return None
    fitted: dict[int, float] = {}
    for key, bias in value.items():
        try:
            token_id = int(key)
        except ValueError:
            return None
        number = _fit_float(bias)
        if number is None or not -INT_LIMIT <= token_id < INT_LIMIT:
            return None
        fitted[token_id] = number
    return fitted


_FIT: Mapping[str, Callable[[Any], Any]] = {
    "bool": _fit_bool,
    "int": _fit_int,
    "float": _fit_float,
    "str": _fit_str,
    "list[int]": _fit_list_of(_fit_int),
    "list[str]": _fit_list_of(_fit_str),
    "list": _fit_list_of(lambda item: item),
    "dict[int, float]": _fit_biases,
    "dict": _fit_dict,
}


def _parse(kind: str, text: str) -> Any:
    """Read a text as `kind`: request parameters can only be texts, integers and booleans."""
    text = text.strip()
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower())
    if kind in ("int", "float"):
        try:
            number: int | float = int(text)
        except ValueError:
            try:
                number = float(text)
            except ValueError:
                return None
        return _fit(kind, number)
    if kind.startswith("list"):
        try:
            return _fit(kind, json.loads(text))
        except (ValueError, RecursionError):
            return None
    if kind.startswith("dict"):
        try:
            return _fit(kind, parse_object(text))
        except JsonProblem:
            return None
    return None
