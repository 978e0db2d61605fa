"""Starts and ends the worker's process, from Triton's stub."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from triton_vllm import messages, processes
from triton_vllm.errors import ModelError
from triton_vllm.link import Link, make_pair

SCRIPT = Path(__file__).resolve().parent.parent / "worker.py"
# How long a worker may take to end after Stop, in seconds.
STOP_PATIENCE = 1.5


class WorkerProcess:
    """A worker and the link to it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it, with `environment` on top of this process's own."""
        ours, theirs = make_pair()
        command = [sys.executable, str(SCRIPT), str(theirs.fileno()), str(os.getppid()), str(os.getpid())]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                pass_fds=[theirs.fileno()],
                # A group of its own, so that all that the engine starts can be found, and so that
                # a signal for the server's group does not take the engine from running requests.
                start_new_session=True,
            )
        except OSError as error:
            msg = f"the engine's process cannot be started: {error}"
            raise ModelError(msg) from None
        finally:
            theirs.close()
        self.link = Link(ours)

    def start_engine(self, start: messages.Start, log_details: Callable[[str], None]) -> messages.Started:
        """Start the engine and wait for it. Raises ModelError with its reason."""
        try:
            self.link.send(start)
            answer = self.link.receive()
        except (OSError, EOFError):
            answer = messages.NotStarted(f"the vLLM engine does not start: its process {self._ending()}")
        if isinstance(answer, messages.NotStarted):
            self.end()
            if answer.traceback:
                log_details(answer.traceback)
            raise ModelError(answer.reason)
        started: messages.Started = answer
        return started

    def end(self) -> None:
        """End the worker and all that its engine started, by force when they take long."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.link.send(messages.Stop())
            self._process.wait(STOP_PATIENCE)
        processes.kill(processes.find_group(self._process.pid))
        self._process.wait()
        self.link.close()

    def _ending(self) -> str:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}"
