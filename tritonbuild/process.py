"""The only place that starts other programs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tritonbuild.errors import CommandFailed, ToolMissing


def find_tool(name: str, *, hint: str) -> str:
    """Return the path of a program; raise ToolMissing with ``hint`` when there is none."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed or not on PATH"
        raise ToolMissing(message, hint=hint)
    return path


def run(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    what: str | None = None,
    hint: str | None = None,
    keep: int = 20,
) -> str:
    """Run a program to its end, hand each output line to ``on_line``, return all of its output.

    stdout and stderr come as one stream; ``env`` is added to our environment. A non-zero end
    raises CommandFailed, which carries the last ``keep`` lines.
    """
    tail: deque[str] = deque(maxlen=keep)
    lines: list[str] = []
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None  # noqa: S101  (PIPE was asked for)
    try:
        for raw in process.stdout:
            text = raw.rstrip("\n")
            lines.append(text)
            tail.append(text)
            if on_line:
                on_line(text)
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code != 0:
        message = f"{what or shlex.join(argv[:4])} ended with code {code}"
        raise CommandFailed(message, tail=tuple(tail), hint=hint)
    return "\n".join(lines)
