"""Finds the requests whose client went away.

Triton tells a backend of that only when asked, request by request, and each question is a message to the
server and back, behind which logs and metrics wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from itertools import islice

# Every request is asked about once in PAUSE + their number / CHECKS_PER_SECOND, in seconds.
PAUSE = 0.15
CHECKS_PER_SECOND = 600
# How many are asked about in one go.
TURN = 32


class Watcher:
    """Asks about all requests in turn, from a thread.

    Clients go in crowds: a process with many streams ends, or a proxy. So as long as a turn finds
    somebody gone, the next one comes at once.
    """

    def __init__(self, numbers: Callable[[], Collection[int]], check: Callable[[int], bool]) -> None:
        """`numbers` gives the requests on their way; `check` deals with one and returns whether it was left."""
        self._numbers = numbers
        self._check = check
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vllm-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE):
            for pause in self.round():
                if self._stopping.wait(pause):
                    return

    def round(self) -> Iterator[float]:
        """Ask about all requests that there are now; yields how long to wait before the next turn, in seconds."""
        waiting = iter(self._numbers())
        while turn := list(islice(waiting, TURN)):
            begun = time.monotonic()
            found = sum(map(self._check, turn))
            yield 0.0 if found else max(0.0, begun + len(turn) / CHECKS_PER_SECOND - time.monotonic())
