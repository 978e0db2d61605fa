"""What one run measures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGETS = ("engine", "openai", "triton")
# What the rows of the tables are called.
LABELS = {
    "engine": ("raw AsyncLLM, final only", "raw AsyncLLM, deltas"),
    "openai": ("vLLM's OpenAI server", "vLLM's OpenAI server, stream"),
    "triton": ("Triton, our backend, generate", "Triton, our backend, generate_stream"),
    "other": ("Triton, other backend, generate", "Triton, other backend, generate_stream"),
}


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
    repetitions: int
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

    def describe(self) -> dict[str, Any]:
        """Return what belongs into the results; no paths."""
        return {
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "seconds": self.seconds,
            "repetitions": self.repetitions,
            "client_processes": self.client_processes,
            "client_realtime": self.client_realtime,
            "counting": self.counting,
        }


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
