"""Takes numbers in, without calling Triton.

One call into Triton takes tens of microseconds and one is needed per observed value. So the engine
only notes values, its worker sends the notes now and then, and the reporter hands them over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from triton_vllm.messages import Notes


class Recorder:
    """Adds up counts, keeps the last levels and collects observed values until they are taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes = Notes({}, {}, {})

    def count(self, name: str, amount: float = 1, reason: str = "") -> None:
        if amount > 0:
            with self._lock:
                counts = self._notes.counts
                counts[name, reason] = counts.get((name, reason), 0) + amount

    def level(self, name: str, value: float) -> None:
        with self._lock:
            self._notes.levels[name] = value

    def observe(self, name: str, values: Iterable[float]) -> None:
        with self._lock:
            self._notes.values.setdefault(name, []).extend(values)

    def put(self, notes: Notes) -> None:
        """Add what another recorder gave."""
        for (name, reason), amount in notes.counts.items():
            self.count(name, amount, reason)
        for name, value in notes.levels.items():
            self.level(name, value)
        for name, values in notes.values.items():
            self.observe(name, values)

    def take(self) -> Notes:
        """Return what was noted since the last call."""
        with self._lock:
            taken, self._notes = self._notes, Notes({}, {}, {})
        return taken
