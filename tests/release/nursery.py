"""Runs of the driver that start at once: a process that has imported all of it makes a copy of itself for each.

``python -m tests.release.nursery`` takes orders as lines of JSON. Each order names a folder, which gets the
run's ``out``, ``err``, ``pid`` and, when it has ended, ``code``.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tritonbuild.files import write_atomic
from tritonbuild.paths import ROOT

# What the driver imports late, because not every command needs it.
_LATE = (
    *("oras.auth", "oras.container", "oras.provider", "securesystemslib.dsse", "securesystemslib.signer"),
    *("cyclonedx.contrib.license.factories", "cyclonedx.model.bom", "cyclonedx.output.json"),
)
_PATIENCE = 400


@dataclass(frozen=True)
class Ending:
    """How a run of the driver ended; ``code`` is minus the number of the signal that killed it."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return re.findall(r"^error: (.*)$", self.err, flags=re.MULTILINE)

    @property
    def hints(self) -> list[str]:
        return re.findall(r"^hint: (.*)$", self.err, flags=re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A run that may still go on."""

    folder: Path

    @property
    def pid(self) -> int:
        return int(self._wait_for("pid", 30))

    @property
    def ended(self) -> bool:
        return (self.folder / "code").exists()

    def wait(self) -> Ending:
        code = int(self._wait_for("code", _PATIENCE))
        out, err = ((self.folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return Ending(code, out, err)

    def _wait_for(self, name: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while not (self.folder / name).exists():
            if time.monotonic() > deadline:
                text = "".join(file.read_text() for file in self.folder.glob("err"))
                pytest.fail(f"a release has no {name} after {seconds} s:\n{text}", pytrace=False)
            time.sleep(0.01)
        return (self.folder / name).read_text()


class Nursery:
    """Starts runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(
        self, folder: Path, words: Sequence[str], settings: Mapping[str, Any], **environment: str
    ) -> Run:
        """Run the driver with ``words``; ``settings`` are those of ``tiny.replace_slow_parts``."""
        order = {
            "folder": str(folder),
            "words": list(words),
            "settings": dict(settings),
            "environment": environment,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Run(folder)


@contextmanager
def running_nursery() -> Iterator[Nursery]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.release.nursery"], cwd=ROOT, stdin=subprocess.PIPE, text=True
    )
    try:
        yield Nursery(process)
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()


def _serve() -> None:
    for module in _LATE:
        importlib.import_module(module)
    tiny = importlib.import_module("tests.release.tiny")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how the supervisors end
    for line in sys.stdin:
        if os.fork() == 0:
            _supervise(json.loads(line), tiny)


def _supervise(order: Mapping[str, Any], tiny: Any) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder = Path(order["folder"])
    pid = os.fork()
    if pid == 0:
        _drive(order, folder, tiny)
    write_atomic(folder / "pid", str(pid))
    _, status = os.waitpid(pid, 0)
    write_atomic(folder / "code", str(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _drive(order: Mapping[str, Any], folder: Path, tiny: Any) -> NoReturn:
    code = 70
    try:
        for name, number in (("out", 1), ("err", 2)):
            with (folder / name).open("wb") as stream:
                os.dup2(stream.fileno(), number)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.environ.update(order["environment"], CI="1", NO_COLOR="1")
        code = tiny.run(order["words"], order["settings"])
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
