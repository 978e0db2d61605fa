"""Runs a plan."""

from __future__ import annotations

import signal
import sys
from typing import Any

from benchmarks.group import MakeTarget, measure_group
from benchmarks.journal import Journal
from benchmarks.plan import Plan


def run(plan: Plan, make: MakeTarget) -> dict[str, Any]:
    """Run the plan with targets out of `make` and return the results, which lie in plan.out by then.

    They are written after each round, so what ends the run costs no more than that.
    """
    # Ended from outside (`timeout`), the servers must not live on.
    signal.signal(signal.SIGTERM, _end)
    journal = Journal(plan)
    journal.say(describe(plan))
    try:
        for names in plan.groups:
            measure_group(names, plan, make, journal)
    finally:
        results = journal.save()
    return results


def describe(plan: Plan) -> str:
    """Return what is going to be done and for how long."""
    order = "taking turns, all up" if plan.in_turns else "one at a time"
    return (
        f"{', '.join(plan.targets)}, {order}: {len(plan.loads)} loads, {plan.rounds} rounds of {plan.seconds:g} s, "
        f"{plan.seconds_of_load / 60:.1f} minutes of load; starting, stopping and the last answers come on top"
    )


def _end(*_: object) -> None:
    # A second word must not interrupt the stopping of the servers.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)
