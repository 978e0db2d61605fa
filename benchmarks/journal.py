"""The results of a run, kept on disk from the first round on."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.plan import Plan
from benchmarks.runner import Runner


class Journal:
    """What has been measured so far."""

    def __init__(self, plan: Plan) -> None:
        self._began = time.monotonic()
        self._path = plan.out / f"{plan.name}.json"
        self._head: dict[str, Any] = {
            "schema": 2,
            "name": plan.name,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "machine": machine.describe(),
            "versions": machine.versions(),
            "model": Path(plan.model).name,
            "engine_args": {**plan.engine_args, "model": Path(plan.model).name},
            "load": plan.describe(),
        }
        self._runners: list[Runner] = []
        self._problems: list[str] = []

    def add(self, runner: Runner) -> None:
        """Keep what a target that is up is going to bring."""
        self._runners.append(runner)

    def note_problem(self, problem: str) -> None:
        self._problems.append(problem)

    def results(self) -> dict[str, Any]:
        """Return all that goes into the results."""
        found = [problem for runner in self._runners for problem in runner.problems()]
        targets = {runner.name: runner.result() for runner in self._runners}
        return {**self._head, "targets": targets, "problems": [*self._problems, *found]}

    def save(self) -> dict[str, Any]:
        """Write the results, whole or not at all, and return them."""
        results = self.results()
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._path)
        return results

    def say(self, text: str) -> None:
        """Tell how far the run is, with the minutes since it began."""
        sys.stderr.write(f"{(time.monotonic() - self._began) / 60:5.1f} min  {text}\n")
        sys.stderr.flush()
