"""Measures the targets of a plan one after the other and keeps what came out."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.load import Load
from benchmarks.observe import counter
from benchmarks.plan import Plan
from benchmarks.tally import medians
from benchmarks.targets import KINDS, Target

# Long enough to compile what is compiled on the first requests.
WARM_UP_SECONDS = 1.0


def run(plan: Plan) -> dict[str, Any]:
    """Run the plan. Writes the results after each target, so a later failure costs none of them."""
    # Ended from outside (`timeout`), the servers must not live on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results: dict[str, Any] = {
        "schema": 1,
        "name": plan.name,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "model": Path(plan.model).name,
        "engine_args": {**plan.engine_args, "model": Path(plan.model).name},
        "load": plan.describe(),
        "targets": {},
        "problems": [],
    }
    for name in plan.targets:
        say(f"== {name}")
        try:
            results["targets"][name] = measure_target(name, plan, results["problems"])
        except Exception as error:
            results["problems"].append(f"{name}: {error}")
            say(traceback.format_exc())
        save(results, plan.out / f"{plan.name}.json")
    return results


def measure_target(name: str, plan: Plan, problems: list[str]) -> dict[str, Any]:
    """Start a target, put every load on it, and stop it."""
    target = KINDS[name](plan)
    result: dict[str, Any] = {"runs": []}
    try:
        result["start_to_ready"] = round(target.start(), 2)
        say(f"ready after {result['start_to_ready']} s")
        asked = 0
        for number, (stream, concurrency) in enumerate(_points(plan)):
            base = Load(
                concurrency=concurrency,
                seconds=plan.seconds,
                stream=stream,
                max_tokens=plan.max_tokens,
                seed=100 * (number + 1),
                counting=plan.counting,
            )
            point, tokens = measure_point(target, base, plan.repetitions)
            asked += tokens
            result["runs"].append(point)
            problems += [f"{name}, {concurrency} concurrent: {problem}" for problem in point["problems"]]
            say(_line(point))
        result["observed"] = target.observe()
        if "vllm_counters" in result["observed"]:
            counted = counter(result["observed"], "vllm:generation_tokens_total")
            result["observed"]["tokens_answered"] = asked
            if counted != asked:
                problems.append(
                    f"{name}: vllm:generation_tokens_total says {counted}, the clients got {asked}"
                )
    finally:
        seconds, code = target.stop()
        result["stop"] = {"seconds": round(seconds, 2), "exit_code": code}
        say(f"stopped after {seconds:.2f} s, exit code {code}")
    return result


def measure_point(target: Target, base: Load, repetitions: int) -> tuple[dict[str, Any], int]:
    """Measure one load, several times. Returns the figures and how many tokens were answered."""
    warm_up = target.ask(replace(base, seconds=min(WARM_UP_SECONDS, base.seconds)))
    tokens = sum(answer.tokens for answer in warm_up.answers)
    problems = warm_up.problems()
    summaries = []
    for repetition in range(repetitions):
        before = target.usage()
        tally = target.ask(replace(base, seed=base.seed + repetition + 1))
        used = target.usage().since(before)
        summary = tally.summary(base.stream)
        problems += tally.problems()
        thousands = summary["tokens"] / 1000
        tokens += summary["tokens"]
        if thousands:
            summary["cpu_seconds_per_1000_tokens"] = round(sum(used.values()) / thousands, 4)
            for process, seconds in used.items():
                summary[f"cpu: {process}"] = round(seconds / thousands, 4)
        summaries.append(summary)
    point = {
        "stream": base.stream,
        "concurrency": base.concurrency,
        "median": medians(summaries),
        "repetitions": [summary["tokens_per_second"] for summary in summaries],
        "problems": problems,
    }
    return point, tokens


def save(results: dict[str, Any], path: Path) -> None:
    """Write the results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def say(text: str) -> None:
    """Tell how far the run is."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _points(plan: Plan) -> list[tuple[bool, int]]:
    return [(stream, concurrency) for stream in plan.modes for concurrency in plan.concurrency]


def _line(point: dict[str, Any]) -> str:
    figures = point["median"]
    mode = "stream" if point["stream"] else "full"
    first = figures.get("first_token_p50")
    return (
        f"{mode:>6} {point['concurrency']:>4}: {figures['tokens_per_second']:>9.0f} tok/s"
        f"  first {first if first is not None else '-':>8}  p50 {figures.get('latency_p50', '-')}"
        f"  msgs {figures.get('messages_per_request', '-')}"
        f"  cpu {figures.get('cpu_seconds_per_1000_tokens', '-')}  {point['repetitions']}"
        + ("  PROBLEMS: " + "; ".join(point["problems"][:3]) if point["problems"] else "")
    )
