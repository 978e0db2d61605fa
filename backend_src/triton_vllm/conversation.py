"""The messages of a conversation, as clients of chat APIs write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_vllm.errors import RequestError, shown
from triton_vllm.jsontext import JsonProblem, parse_list

ITEM = 'input "messages" item {index}'


def parse_messages(text: str | None) -> tuple[Mapping[str, Any], ...]:
    """Read a JSON list of objects with a "role" and a "content". Raises RequestError."""
    if text is None:
        return ()
    try:
        items = parse_list(text)
    except JsonProblem as problem:
        msg = f'input "messages" {problem}'
        raise RequestError(msg) from None
    if not items:
        msg = 'input "messages" has no message'
        raise RequestError(msg)
    return tuple(_message(ITEM.format(index=index), item) for index, item in enumerate(items))


def _message(where: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or not isinstance(item.get("role"), str):
        msg = f'{where} must be an object with a "role", got {shown(item)}'
        raise RequestError(msg)
    content = item.get("content")
    if isinstance(content, list):
        # The long form: a list of parts, of which a template takes the texts.
        content = "".join(_part(where, part) for part in content)
    if not isinstance(content, str):
        msg = f'{where}: "content" must be a string, got {shown(content)}'
        raise RequestError(msg)
    return {**item, "content": content}


def _part(where: str, part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        msg = f'{where}: a part of "content" must be {{"type": "text", "text": ...}}, got {shown(part)}'
        raise RequestError(msg)
    return text
