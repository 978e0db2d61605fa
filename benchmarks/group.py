"""Targets that are up at the same time and take turns: only one has load at any moment.

Machines get faster and slower within minutes, so figures are compared that lie seconds apart. A
target that fails leaves, and the others go on.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from benchmarks.journal import Journal
from benchmarks.load import Load
from benchmarks.plan import Plan
from benchmarks.runner import Runner
from benchmarks.target import Target

MakeTarget = Callable[[str, Plan], Target]
Item = TypeVar("Item")


def measure_group(names: Iterable[str], plan: Plan, make: MakeTarget, journal: Journal) -> None:
    """Start the targets one by one, put every load on each in turns, and stop them."""
    with ExitStack() as stack:
        group = Group(journal)
        for name in names:
            group.start(name, plan, make, stack)
        began, done, total = time.monotonic(), 0, len(plan.loads) * plan.rounds
        for load in plan.loads:
            group.warm_up(load)
            for number in range(plan.rounds):
                figures = group.take_turns(load, number)
                if not figures:
                    return
                journal.save()
                done += 1
                left = (time.monotonic() - began) / done * (total - done) / 60
                where = f"{load.name}, round {number + 1} of {plan.rounds}"
                journal.say(f"{where}: {_line(figures)}; {left:.1f} min of rounds left")
        group.observe()


class Group:
    """The targets that are up."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._up: list[Runner] = []

    def start(self, name: str, plan: Plan, make: MakeTarget, stack: ExitStack) -> None:
        """Start a target, while those before it have nothing to do; the stack stops it."""
        self._journal.say(f"starting {name}")
        try:
            runner = Runner(name, make(name, plan))
        except Exception as error:
            self._journal.note_problem(f"{name}: {error}")
            return
        stack.callback(runner.stop)
        self._up.append(runner)
        seconds = self._attempt(runner, runner.start)
        if seconds is not None:
            self._journal.say(f"{name} was ready after {seconds} s")
            self._journal.add(runner)

    def warm_up(self, load: Load) -> None:
        """Warm every target up for a load, once."""
        for runner in list(self._up):
            self._attempt(runner, lambda: runner.warm_up(load))  # noqa: B023  (called at once)
            self._settle(runner)

    def take_turns(self, load: Load, number: int) -> dict[str, dict[str, Any]]:
        """Put the load on each target once; who is first changes with the number of the round.

        Returns the figures by target, empty when none is up any more.
        """
        figures = {}
        for runner in rotate(self._up, number):
            found = self._attempt(runner, lambda: self._take_turn(runner, load, number))  # noqa: B023
            self._settle(runner)
            if found is not None:
                figures[runner.name] = found
        return figures

    def observe(self) -> None:
        """Ask each target for what it says of itself."""
        for runner in list(self._up):
            self._attempt(runner, runner.observe)

    def _take_turn(self, runner: Runner, load: Load, number: int) -> dict[str, Any]:
        with ExitStack() as stack:
            for other in self._up:
                if other is not runner:
                    stack.enter_context(other.idling())
            return runner.take_turn(load, number)

    def _settle(self, runner: Runner) -> None:
        if runner in self._up and len(self._up) > 1:
            runner.settle()

    def _attempt(self, runner: Runner, action: Callable[[], Item]) -> Item | None:
        try:
            return action()
        except Exception as error:
            self._journal.say(traceback.format_exc())
            self._journal.note_problem(f"{runner.name}: {error or type(error).__name__}")
            # At once: what it still computes would slow the others down.
            runner.stop()
            self._up.remove(runner)
            return None


def rotate(items: Sequence[Item], number: int) -> list[Item]:
    """Return the items beginning with another one for each number."""
    start = number % len(items) if items else 0
    return [*items[start:], *items[:start]]


def _line(figures: dict[str, dict[str, Any]]) -> str:
    raw = figures.get("engine", {}).get("tokens_per_second")
    parts = []
    for name, found in sorted(figures.items()):
        value = found["tokens_per_second"]
        ratio = f" ({value / raw:.2f}x)" if raw and name != "engine" else ""
        parts.append(f"{name} {value:,.0f}{ratio}")
    return "  ".join(parts) + " tokens per second"
