"""Ends an engine when one of the processes that share its model has died.

With tensor or pipeline parallelism the other processes wait for the dead one, and vLLM's executor
gives them up to eight seconds before it tells anybody. Until then every request hangs, and the model is ready.
"""

from __future__ import annotations

import threading

from triton_vllm import processes

# What vLLM calls them, from 0.10 on.
TITLE = b"VLLM::Worker"
INTERVAL = 0.2


class Ranks:
    """The processes in a group that share a model; none where one process has all of it."""

    def __init__(self, group: int) -> None:
        self._ranks = [
            pid for pid in processes.find_group(group) if processes.title_of(pid).startswith(TITLE)
        ]
        self._parents = {processes.parent_of(pid) for pid in self._ranks}
        self._stopping = threading.Event()

    def start_watch(self) -> None:
        """Watch them from a thread, if there are any."""
        if self._ranks:
            threading.Thread(target=self.watch, name="vllm-ranks", daemon=True).start()

    def watch(self, interval: float = INTERVAL) -> None:
        """Wait until one has died, then kill the others and the engine that started them."""
        while all(map(processes.is_running, self._ranks)):
            if self._stopping.wait(interval):
                return
        # From here on it is the death of the engine, which vLLM's client sees at once.
        processes.kill([*(pid for pid in self._parents if pid), *self._ranks])

    def stop(self) -> None:
        """Let them end."""
        self._stopping.set()
