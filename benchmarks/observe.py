"""What a running Triton says of itself: its version, its metrics, the GPU's memory."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import machine
from benchmarks.servers import get_text


def triton(port: int) -> dict[str, Any]:
    """Return a Triton server's version and metrics."""
    try:
        about = json.loads(get_text(port, "/v2"))
    except ValueError:
        about = {}
    samples = [line for line in get_text(port + 2, "/metrics").splitlines() if line and line[0] != "#"]
    engine = sorted({_name(line) for line in samples if line.startswith("vllm:")})
    return {
        "triton": about.get("version", ""),
        "vllm_metrics": [name for name in engine if not name.endswith("_bucket")],
        "vllm_counters": [line for line in samples if line.startswith("vllm:") and "tokens_total" in line],
        "nv_gpu_metrics": [line for line in samples if line.startswith("nv_gpu")],
        "gpus": machine.gpus(),
    }


def counter(observed: dict[str, Any], name: str) -> int | None:
    """Return the value of a counter of the engine."""
    for line in observed["vllm_counters"]:
        if _name(line) == name:
            return int(float(line.rsplit(" ", 1)[1]))
    return None


def _name(line: str) -> str:
    return line.split("{", 1)[0].split(" ", 1)[0]
