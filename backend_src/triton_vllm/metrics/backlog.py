"""Values of a histogram that wait to be handed over."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence


class Backlog:
    """Values of one histogram that wait for their turn: a count and a sum per bucket.

    Keeps memory bounded however far behind the reporter is. The values handed out have the same
    number per bucket and the same sum as those put in.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sums = [0.0] * (len(bounds) + 1)
        self._next = 0

    def __len__(self) -> int:
        return sum(self._counts)

    def put(self, values: Iterable[float]) -> None:
        for value in values:
            index = bisect_left(self._bounds, value)
            self._counts[index] += 1
            self._sums[index] += value

    def take(self) -> float | None:
        """Return one value, or None when nothing waits."""
        for step in range(len(self._counts)):
            index = (self._next + step) % len(self._counts)
            if self._counts[index]:
                value = self._sums[index] / self._counts[index]
                self._counts[index] -= 1
                self._sums[index] -= value
                self._next = index
                return value
        return None

    def take_all(self) -> tuple[list[int], float]:
        """Return how many values wait in each bucket, and the sum of all."""
        taken = self._counts, sum(self._sums)
        self._counts, self._sums = [0] * len(self._counts), [0.0] * len(self._sums)
        return taken
