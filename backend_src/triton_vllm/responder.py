"""Sends the results that the worker gives to Triton's response senders."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_vllm.messages import Failure, Part
from triton_vllm.requests import Wanted
from triton_vllm.responses import Responses


@dataclass(eq=False)
class Active:
    """A request on its way: where its responses go and what they hold."""

    sender: Any
    prefix: str
    wanted: Wanted
    cancelled: bool = False
    # Set before the last response is sent, under the lock.
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        with self.lock:
            self.closed = True

    def is_cancelled(self) -> bool:
        """Ask Triton whether the client is gone, which is deadly for the server after the last response."""
        with self.lock:
            return not self.closed and bool(self.sender.is_cancelled())


class Lane:
    """Sends the results of a share of the requests, one after the other, from a thread."""

    def __init__(
        self,
        number: int,
        deliver: Callable[[int, Part | Failure], None],
        on_done: Callable[[int], None],
    ) -> None:
        """`deliver` gets each result with its request's number, `on_done` the lane's after a batch."""
        self._number = number
        self._deliver = deliver
        self._on_done = on_done
        self._batches: queue.SimpleQueue[Sequence[tuple[int, Part | Failure]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"vllm-responses-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, batch: Sequence[tuple[int, Part | Failure]]) -> None:
        self._batches.put(batch)

    def stop(self, timeout: float) -> None:
        """Send what waits, for at most `timeout` seconds, and end the thread."""
        self._batches.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            for number, result in batch:
                self._deliver(number, result)
            self._on_done(self._number)


class Responder:
    """Builds responses and hands them to Triton."""

    def __init__(self, pb_utils: Any, on_trouble: Callable[[str], None]) -> None:
        self._responses = Responses(pb_utils)
        self._final_flag = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        self._on_trouble = on_trouble

    def send(self, active: Active, result: Part | Failure, final: bool) -> None:
        try:
            if isinstance(result, Failure):
                response = self._responses.from_failure(result)
            else:
                response = self._responses.from_part(result, active.prefix, active.wanted)
            active.sender.send(response, flags=self._final_flag if final else 0)
        except Exception as trouble:
            # One response must never end the thread that serves all the others.
            self._on_trouble(f"[vllm] a response could not be sent: {trouble}")
