"""What is measured of one target at one load, round by round."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.load import Load
from benchmarks.ratios import KEPT
from benchmarks.tally import Tally, medians

# More of the CPUs than this, and an idle target disturbs the one that is measured.
IDLE_CPU_SHARE = 0.05


class Record:
    """Grows with every turn; `result` is what goes into the results, at any time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rounds: dict[int, dict[str, Any]] = {}
        self._idle_cpu, self._idle_seconds = 0.0, 0.0
        self.problems: list[str] = []

    @property
    def name(self) -> str:
        return self._load.name

    @property
    def is_empty(self) -> bool:
        return not self._rounds

    def add(self, number: int, tally: Tally, used: dict[str, float]) -> dict[str, Any]:
        """Keep what a turn brought; `used` is the CPU time of the front end's processes. Returns its figures."""
        summary = tally.summary(self._load.stream)
        self.problems += tally.problems()
        thousands = summary["tokens"] / 1000
        if thousands:
            summary["cpu_seconds_per_1000_tokens"] = round(sum(used.values()) / thousands, 4)
            for process, seconds in used.items():
                summary[f"cpu: {process}"] = round(seconds / thousands, 4)
        self._rounds[number] = summary
        return summary

    def add_idle(self, cpu: float, seconds: float) -> None:
        """Keep what the target burned while another one was asked."""
        self._idle_cpu += cpu
        self._idle_seconds += seconds

    @property
    def idle_cpu_share(self) -> float | None:
        """Cores that the target kept busy in the others' turns, None without such a turn."""
        return round(self._idle_cpu / self._idle_seconds, 3) if self._idle_seconds else None

    def result(self) -> dict[str, Any]:
        count = max(self._rounds, default=-1) + 1
        rounds = [self._rounds.get(number, {}) for number in range(count)]
        return {
            "stream": self._load.stream,
            "concurrency": self._load.concurrency,
            "median": medians(list(self._rounds.values())),
            # One place for each round, so that those of two targets can be laid side by side.
            "rounds": {
                figure: [summary.get(figure) for summary in rounds]
                for figure in KEPT
                if any(figure in summary for summary in rounds)
            },
            "idle_cpu_share": self.idle_cpu_share,
            "problems": self.all_problems(),
        }

    def all_problems(self) -> list[str]:
        """Return what was wrong with the answers, and with the target while it had nothing to answer."""
        share = self.idle_cpu_share
        if share is None or share <= IDLE_CPU_SHARE * len(os.sched_getaffinity(0)):
            return self.problems
        return [*self.problems, f"kept {share:.2f} cores busy while others were asked"]
