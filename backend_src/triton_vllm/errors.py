"""The errors that a client or the server's log may see, each one line long."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

MAX_MESSAGE = 2000
MAX_VALUE = 80


class BackendError(Exception):
    """An error with a one-line message. `code` names a `pb_utils.TritonError` code."""

    code = "INTERNAL"


class RequestError(BackendError):
    """The request asks for something that is malformed or not available."""

    code = "INVALID_ARG"


class ModelError(BackendError):
    """The model's files or settings are wrong, or its engine does not start."""

    code = "INVALID_ARG"


class EngineUnavailable(BackendError):
    """The engine is dead, or the model is being stopped."""

    code = "UNAVAILABLE"


class RequestCancelled(BackendError):
    """The client went away, or its deadline passed."""

    code = "CANCELLED"


def one_line(error: BaseException) -> str:
    """Return the error's text as one line without memory addresses, or its type if it has none."""
    text = " ".join(str(error).split())
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    # pydantic ends each message with a link to its own documentation.
    text = re.sub(r" For further information visit \S+", "", text)
    if len(text) > MAX_MESSAGE:
        text = text[: MAX_MESSAGE - 3] + "..."
    return text or type(error).__name__


def shown(value: Any) -> str:
    """Return a value as it should appear in a message: quoted like JSON, cut when long."""
    text = repr(value)
    if len(text) > MAX_VALUE:
        text = text[: MAX_VALUE - 3] + "..."
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ', did you mean "x"?' for the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f', did you mean "{nearest[0]}"?' if nearest else ""
