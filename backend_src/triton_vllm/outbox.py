"""Sends responses from a thread of its own.

Sending one response takes Triton about 100 us, more than many an engine needs for a token. So
the engine's thread never waits for it: what comes while a stream's last response is still on its
way is merged into the stream's next one. A client that is served fast enough sees every token
alone; memory stays bounded when it is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from triton_vllm.engines.interface import Output
from triton_vllm.errors import BackendError
from triton_vllm.merging import Sequences
from triton_vllm.requests import Wanted
from triton_vllm.responses import Responses

# The longest rest of the sending thread, in seconds.
LONGEST_REST = 0.05


class Outlet:
    """Where one request's responses go."""

    __slots__ = ("closed", "error", "prefix", "queued", "sender", "sequences", "wanted")

    def __init__(self, sender: Any, sequences: Sequences, prefix: str, wanted: Wanted) -> None:
        self.sender = sender
        self.sequences = sequences
        self.prefix = prefix
        self.wanted = wanted
        self.error: BackendError | None = None
        self.queued = False
        self.closed = False


class Outbox:
    """The queue of streams that have something to send, and the thread that sends it."""

    def __init__(
        self,
        responses: Responses,
        final_flag: int,
        on_trouble: Callable[[str], None],
        share: float = 0.25,
    ) -> None:
        self._responses = responses
        self._final_flag = final_flag
        self._on_trouble = on_trouble
        self._share = share
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._waiting: list[Outlet] = []
        self._idle = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="vllm-responses", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Send what waits, for at most `timeout` seconds, and end the thread."""
        with self._lock:
            self._stopping = True
            self._filled.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def put(self, outlet: Outlet, output: Output) -> None:
        """Queue an output of the engine."""
        with self._lock:
            outlet.sequences.add(output)
            self._enqueue(outlet)

    def fail(self, outlet: Outlet, error: BackendError) -> None:
        """Queue an error as the last response."""
        with self._lock:
            if not outlet.closed:
                outlet.error = error
                self._enqueue(outlet)

    def _enqueue(self, outlet: Outlet) -> None:
        if not outlet.queued:
            outlet.queued = True
            self._waiting.append(outlet)
            if self._idle:
                self._idle = False
                self._filled.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    if self._stopping:
                        return
                    self._idle = True
                    self._filled.wait()
                self._idle = False
                batch, self._waiting = self._waiting, []
            started = time.monotonic()
            for outlet in batch:
                self._send(outlet)
            # Leave the interpreter, and the machine, to the engine for the rest of the time.
            worked = time.monotonic() - started
            time.sleep(min(worked * (1 / self._share - 1), LONGEST_REST))

    def _send(self, outlet: Outlet) -> None:
        with self._lock:
            outlet.queued = False
            if outlet.closed:
                return
            error = outlet.error
            part = None if error else outlet.sequences.take()
            final = part is None or part.final
            outlet.closed = final
        try:
            if part is None:
                response = self._responses.from_error(error)  # type: ignore[arg-type]
            else:
                response = self._responses.from_part(part, outlet.prefix, outlet.wanted)
            outlet.sender.send(response, flags=self._final_flag if final else 0)
        except Exception as trouble:
            # One response must never end the thread that serves all the others.
            self._on_trouble(f"[vllm] a response could not be sent: {trouble}")
