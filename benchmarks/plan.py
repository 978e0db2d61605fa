"""What one run measures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Load

TARGETS = ("engine", "openai", "triton")
# What the rows of the tables are called.
LABELS = {
    "engine": ("raw AsyncLLM, final only", "raw AsyncLLM, deltas"),
    "openai": ("vLLM's OpenAI server", "vLLM's OpenAI server, stream"),
    "triton": ("Triton, our backend, generate", "Triton, our backend, generate_stream"),
    "other": ("Triton, other backend, generate", "Triton, other backend, generate_stream"),
}

# Long enough to compile what is compiled on the first requests.
WARM_UP_SECONDS = 1.0
# What vLLM takes of a GPU unless told otherwise; it grew from 0.9 to 0.92.
_DEFAULT_GPU_SHARE = 0.92
# The rest is for what engines take beside their share.
_GPU_FILLED = 0.95


@dataclass(frozen=True)
class Plan:
    """One model, the same engine arguments for every target."""

    name: str
    model: str
    engine_args: Mapping[str, Any]
    targets: tuple[str, ...]
    concurrency: tuple[int, ...]
    modes: tuple[bool, ...]  # stream: no, yes
    seconds: float
    rounds: int
    in_turns: bool
    max_tokens: int
    counting: str
    port: int
    client_processes: int
    client_realtime: bool
    profile_seconds: int
    triton: Path | None
    backend: Path | None
    other_backend: Path | None
    work: Path
    out: Path

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The targets that are up at the same time."""
        return [self.targets] if self.in_turns else [(name,) for name in self.targets]

    @property
    def loads(self) -> list[Load]:
        """What every target is asked, in this order; rounds count the seed up."""
        points = [(stream, concurrency) for stream in self.modes for concurrency in self.concurrency]
        return [
            Load(
                concurrency=concurrency,
                seconds=self.seconds,
                stream=stream,
                max_tokens=self.max_tokens,
                seed=100 * (number + 1),
                counting=self.counting,
            )
            for number, (stream, concurrency) in enumerate(points)
        ]

    @property
    def seconds_of_load(self) -> float:
        """How long targets are asked, all together; starting, stopping and the last answers come on top."""
        warm_up = min(WARM_UP_SECONDS, self.seconds)
        return len(self.targets) * len(self.loads) * (warm_up + self.rounds * self.seconds)

    def port_of(self, target: str) -> int:
        """Return the first of a target's three ports."""
        return self.port + 3 * self.targets.index(target)

    def describe(self) -> dict[str, Any]:
        """Return what belongs into the results; no paths."""
        return {
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "seconds": self.seconds,
            "rounds": self.rounds,
            "in_turns": self.in_turns,
            "client_processes": self.client_processes,
            "client_realtime": self.client_realtime,
            "counting": self.counting,
        }


def find_memory_problem(plan: Plan) -> str | None:
    """Return why the engines do not fit on one GPU side by side, None when they do."""
    count = max(len(group) for group in plan.groups)
    share = float(plan.engine_args.get("gpu_memory_utilization", _DEFAULT_GPU_SHARE))
    if count == 1 or share * count <= _GPU_FILLED:
        return None
    return (
        f"{count} engines side by side want {share:g} of the GPU's memory each: set --engine-arg "
        f"gpu_memory_utilization={math.floor(100 * _GPU_FILLED / count) / 100} or less, or ask for --one-at-a-time"
    )


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Return engine arguments as the command line of vLLM's server takes them."""
    result: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            result.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            result += [f"--{flag}", text]
    return result
