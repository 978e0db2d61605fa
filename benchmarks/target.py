"""What every target can do, whatever stands behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Load
from benchmarks.tally import Tally


@dataclass(frozen=True)
class Usage:
    """CPU-seconds so far, by process."""

    seconds: dict[str, float]  # "pid:name" -> CPU-seconds

    def since(self, earlier: Usage) -> dict[str, float]:
        """Return what was used in between, by the names of the processes."""
        used: dict[str, float] = {}
        for key, value in self.seconds.items():
            name = key.split(":", 1)[1]
            used[name] = round(used.get(name, 0.0) + value - earlier.seconds.get(key, 0.0), 3)
        return used


class Target(ABC):
    """One thing that answers prompts."""

    @abstractmethod
    def start(self) -> float:
        """Start and wait until ready. Returns the seconds it took."""

    @abstractmethod
    def ask(self, load: Load) -> Tally:
        """Put a load on it; an error of an answer is part of the tally, one of the target is raised."""

    @abstractmethod
    def stop(self) -> tuple[float, int | None]:
        """End it, also one that never got ready. Returns the seconds it took and the exit code (None: killed)."""

    @abstractmethod
    def front_end(self) -> Usage:
        """Return the CPU time of all its processes but the engine's own."""

    @abstractmethod
    def everything(self) -> Usage:
        """Return the CPU time of all its processes."""

    def observe(self) -> dict[str, Any]:
        """Return what it says of itself after the measurements."""
        return {}
