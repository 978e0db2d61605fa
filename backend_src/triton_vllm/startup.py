"""Starts the engine, and says in one line why it does not start."""

from __future__ import annotations

import collections
import os
import re
import threading
from types import TracebackType

from triton_vllm.errors import one_line

KEPT_LINES = 400
# "(EngineCore pid=12) ERROR 11-22 17:50:48 [core.py:98] " and the like, before a log line's text.
LOG_PREFIX = re.compile(
    r"^(\([^)]*\)\s*)?((ERROR|WARNING|INFO|CRITICAL|DEBUG)\s+\S+\s+\S+\s+(\[[^\]]*\]|\S+\])\s*)?"
)
EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)): ?(.*)$")
# What only says that something else went wrong.
UNHELPFUL = re.compile(r"[Ss]ee (root cause|stack trace)|Engine core initialization failed")


class OutputTail:
    """Keeps the last lines that this process and its children write to stderr and stdout.

    The engine's processes tell why they fail only there. Everything is passed on as it comes.
    """

    def __init__(self) -> None:
        self.lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._saved: dict[int, int] | None = None
        self._pumps: list[threading.Thread] = []

    def __enter__(self) -> OutputTail:
        self._saved = {fd: os.dup(fd) for fd in (1, 2)}
        for fd, original in self._saved.items():
            reader, writer = os.pipe()
            os.dup2(writer, fd)
            os.close(writer)
            pump = threading.Thread(
                target=self._pump, args=(reader, os.dup(original)), name="vllm-log", daemon=True
            )
            pump.start()
            self._pumps.append(pump)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for fd, original in (self._saved or {}).items():
            os.dup2(original, fd)
            os.close(original)
        # The children keep the pipes; their threads end with them.
        for pump in self._pumps:
            pump.join(0.3 if kind else 0)

    def _pump(self, reader: int, original: int) -> None:
        rest = b""
        while True:
            try:
                data = os.read(reader, 65536)
            except OSError:
                data = b""
            if not data:
                break
            try:
                os.write(original, data)
            except OSError:
                pass
            *lines, rest = (rest + data).split(b"\n")
            self.lines.extend(line.decode("utf-8", "replace") for line in lines)
        os.close(reader)
        os.close(original)


def explain(error: BaseException, lines: collections.deque[str]) -> str:
    """Return the reason of a failed start: the error itself, or what its processes wrote."""
    text = one_line(error)
    if not UNHELPFUL.search(text):
        return _with_type(error, text)
    found = ""
    for line in lines:
        match = EXCEPTION.match(LOG_PREFIX.sub("", line).strip())
        if match and not UNHELPFUL.search(match[0]):
            found = match[0]
    return " ".join(found.split()) or text


def _with_type(error: BaseException, text: str) -> str:
    # A bare KeyError or AssertionError says little without its name.
    name = type(error).__name__
    if name in text or isinstance(error, (ValueError, RuntimeError, OSError)):
        return text
    return f"{name}: {text}"
