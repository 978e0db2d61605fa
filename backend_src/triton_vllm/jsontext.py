"""JSON as people write it by hand: errors say where."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class JsonProblem(ValueError):
    """The text is not the JSON that was expected; the message is what follows the text's name."""


def parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises JsonProblem with line and column, or naming a repeated key."""
    value = _parse(text)
    if not isinstance(value, dict):
        msg = f"must be a JSON object, not {_kind(value)}"
        raise JsonProblem(msg)
    return value


def parse_list(text: str) -> list[Any]:
    """Parse a JSON list. Raises JsonProblem with line and column, or naming a repeated key."""
    value = _parse(text)
    if not isinstance(value, list):
        msg = f"must be a JSON list, not {_kind(value)}"
        raise JsonProblem(msg)
    return value


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        msg = f"is not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        raise JsonProblem(msg) from None
    except RecursionError:
        msg = "is not valid JSON: nested too deeply"
        raise JsonProblem(msg) from None
    except JsonProblem:
        raise
    except ValueError as error:
        # For example an integer of more digits than Python converts.
        msg = f"is not valid JSON: {error}"
        raise JsonProblem(msg) from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            msg = f'has the key "{key}" twice'
            raise JsonProblem(msg)
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    msg = f"is not valid JSON: {name} is not a JSON number"
    raise JsonProblem(msg)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")
