"""A target in a run: it starts, takes its turns, is watched while others have theirs, and stops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from benchmarks.load import Load
from benchmarks.observe import counter
from benchmarks.plan import WARM_UP_SECONDS
from benchmarks.record import Record
from benchmarks.target import Target, Usage

# Seconds: how long a target that was asked has to become quiet, and how often it is looked at.
SETTLE_WITHIN = 3.0
# Cores: what spins keeps a whole one busy; Triton on an H100 0.16 at rest.
QUIET = 0.3
SETTLE_STEP = 0.2


class Runner:
    """A target and its part of the results."""

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self._target = target
        self._answered = 0
        self._records: list[Record] = []
        self._about: dict[str, Any] = {}

    def start(self) -> float:
        """Start the target. Returns the seconds until it was ready."""
        self._about["start_to_ready"] = round(self._target.start(), 2)
        return float(self._about["start_to_ready"])

    def warm_up(self, load: Load) -> None:
        """Open the record of a load, and put a little of it on the target: first requests compile things."""
        record = Record(load)
        self._records.append(record)
        tally = self._target.ask(replace(load, seconds=min(WARM_UP_SECONDS, load.seconds)))
        self._answered += sum(answer.tokens for answer in tally.answers)
        record.problems += tally.problems()

    def take_turn(self, load: Load, number: int) -> dict[str, Any]:
        """Put the load of round `number` (from 0) on the target. Returns the figures."""
        before = self._target.front_end()
        tally = self._target.ask(replace(load, seed=load.seed + number + 1))
        used = self._target.front_end().since(before)
        figures = self._records[-1].add(number, tally, used)
        self._answered += figures["tokens"]
        return figures

    def settle(self) -> None:
        """Wait until the target is quiet: after its last answer a worker of vLLM spins for a second."""
        until = time.monotonic() + SETTLE_WITHIN
        while time.monotonic() < until:
            began, before = time.monotonic(), self._target.everything()
            time.sleep(SETTLE_STEP)
            if self._burned_since(before) <= QUIET * (time.monotonic() - began):
                return

    @contextmanager
    def idling(self) -> Iterator[None]:
        """Measure what the target burns while another one has its turn."""
        began, before = time.monotonic(), self._target.everything()
        yield
        self._records[-1].add_idle(self._burned_since(before), time.monotonic() - began)

    def observe(self) -> None:
        """Keep what the target says of itself."""
        observed = self._target.observe()
        if "vllm_counters" in observed:
            observed["tokens_counted"] = counter(observed, "vllm:generation_tokens_total")
            observed["tokens_answered"] = self._answered
        self._about["observed"] = observed

    def stop(self) -> None:
        """End the target, once."""
        if "stop" not in self._about:
            seconds, code = self._target.stop()
            self._about["stop"] = {"seconds": round(seconds, 2), "exit_code": code}

    def result(self) -> dict[str, Any]:
        """Return what is known so far."""
        runs = [record.result() for record in self._records if not record.is_empty]
        return {"runs": runs, **self._about}

    def problems(self) -> list[str]:
        """Return what was wrong so far, each with the target's name."""
        found = [
            f"{self.name}, {record.name}: {problem}"
            for record in self._records
            for problem in record.all_problems()
        ]
        observed = self._about.get("observed", {})
        counted, answered = observed.get("tokens_counted"), observed.get("tokens_answered")
        if counted != answered:
            found.append(
                f"{self.name}: vllm:generation_tokens_total says {counted}, the clients got {answered}"
            )
        return found

    def _burned_since(self, before: Usage) -> float:
        return sum(self._target.everything().since(before).values())
