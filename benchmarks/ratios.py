"""Ratios between targets: of what was measured in the same round where they took turns."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

# What is kept of every round, because ratios are made of it.
KEPT = ("tokens_per_second", "first_token_p50")


@dataclass(frozen=True)
class Ratio:
    """The middle of the rounds' ratios, and how far they lie apart; no bounds where targets took no turns."""

    middle: float
    least: float | None = None
    largest: float | None = None

    def __str__(self) -> str:
        if self.least is None or self.largest is None:
            return f"{self.middle:.2f}x"
        return f"{self.middle:.2f}x, {self.least:.2f} to {self.largest:.2f}"


def find_ratio(run: dict[str, Any], base: dict[str, Any], figure: str, paired: bool) -> Ratio | None:
    """Return how a target's figure at one load compares to another target's, None without both.

    `paired`: the targets took turns, so that each round has a ratio of its own.
    """
    if paired:
        pairs = zip(run["rounds"].get(figure, []), base["rounds"].get(figure, []), strict=False)
        ratios = [value / other for value, other in pairs if value is not None and other]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None
    value, other = run["median"].get(figure), base["median"].get(figure)
    return Ratio(value / other) if value and other else None


def are_paired(results: dict[str, Any]) -> bool:
    """Return whether the targets of these results took turns; those of old files did not."""
    return bool(results["load"].get("in_turns", False))


def find_run(results: dict[str, Any], name: str, stream: bool, concurrency: int) -> dict[str, Any] | None:
    """Return what was measured of a target at one load."""
    for run in results["targets"].get(name, {}).get("runs", []):
        if run["stream"] == stream and run["concurrency"] == concurrency:
            return dict(run)
    return None


def find_points(results: dict[str, Any]) -> list[int]:
    """Return the numbers of concurrent requests that were measured."""
    return sorted({run["concurrency"] for target in results["targets"].values() for run in target["runs"]})
