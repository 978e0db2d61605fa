"""The only place that starts other programs."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeAlias

from tritonbuild.errors import CommandFailed, ToolMissing

# pytest removes its containers after SIGINT, and docker build tells the engine to stop.
_GRACE_SECONDS = 60.0

Process: TypeAlias = "subprocess.Popen[str]"


class Children:
    """The programs that run right now, so that all of them can be told to end."""

    def __init__(self) -> None:
        self._running: set[Process] = set()
        self._changed = threading.Condition()
        self.stopping = False

    def check(self) -> None:
        """Raise KeyboardInterrupt once all is to end."""
        if self.stopping:
            raise KeyboardInterrupt

    def add(self, process: Process) -> None:
        with self._changed:
            self._running.add(process)
            if self.stopping:  # started a moment too late
                _signal(process, signal.SIGINT)

    def discard(self, process: Process) -> None:
        with self._changed:
            self._running.discard(process)
            self._changed.notify_all()

    def stop(self) -> None:
        """Tell all to end, as Ctrl-C would, and start no more; kill what does not end in time."""
        with self._changed:
            self.stopping = True
            for process in self._running:
                _signal(process, signal.SIGINT)
            if not self._changed.wait_for(lambda: not self._running, _GRACE_SECONDS):
                self.kill()

    def kill(self) -> None:
        """End what runs, ready or not."""
        with self._changed:
            for process in self._running:
                _signal(process, signal.SIGKILL)


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
    children: Children | None = None,
) -> str:
    """Run a program to its end, hand each output line to ``on_line``, return all of its output.

    stdout and stderr come as one stream; ``env`` is added to our environment. A non-zero end
    raises CommandFailed, which carries the last ``keep`` lines; KeyboardInterrupt when
    ``children`` were told to stop.
    """
    family = children or Children()
    family.check()
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
        # Ctrl-C reaches us alone, and we hand it on: once, and to all.
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101  (PIPE was asked for)
    family.add(process)
    try:
        for raw in process.stdout:
            text = raw.rstrip("\n")
            lines.append(text)
            tail.append(text)
            if on_line:
                on_line(text)
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        family.discard(process)
        process.stdout.close()
    family.check()
    if code != 0:
        message = f"{what or shlex.join(argv[:4])} ended with code {code}"
        raise CommandFailed(message, tail=tuple(tail), hint=hint)
    return "\n".join(lines)


def _signal(process: Process, number: signal.Signals) -> None:
    """Signal a program and all that it started, as a terminal does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(process: Process) -> None:
    """Let a program tidy up after itself; kill it when it takes too long, or at a second Ctrl-C."""
    _signal(process, signal.SIGINT)
    try:
        process.communicate(timeout=_GRACE_SECONDS)  # reads on: a full pipe would hold it up
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal(process, signal.SIGKILL)  # also what it left behind
        process.wait()


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and a lost terminal do what Ctrl-C does: end the children, tidy up, say so."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    taken = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
