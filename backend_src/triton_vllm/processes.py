"""The processes of a worker, a group that it leads, and the CPUs that they have."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def count_cpus() -> float:
    """Return how many CPUs this process may use, with a container's limit as a fraction of one."""
    count = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = CPU_LIMIT.read_text(encoding="ascii").split()
        return min(count, int(quota) / int(period))
    except (OSError, ValueError):
        return count  # "max", or no such file: no limit


def find_group(leader: int) -> list[int]:
    """Return the processes of a group, whoever their parents are by now; none without /proc."""
    try:
        entries = os.listdir("/proc")
    except OSError:
        return []
    return [int(entry) for entry in entries if entry.isdigit() and _belongs(int(entry), leader)]


def kill(pids: list[int]) -> None:
    """Kill processes at once; those that are gone already are skipped."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, or None when there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if len(fields) > 1 else None


def loads_on_demand(server: int) -> bool:
    """Return whether a tritonserver takes orders to unload; what has no such command line counts as one that may."""
    words = title_of(server).decode(errors="replace").split("\0")
    if os.path.basename(words[0]) != "tritonserver":
        return True
    explicit = ("--model-control-mode", "explicit")
    return "=".join(explicit) in words or explicit in itertools.pairwise(words)


def title_of(pid: int) -> bytes:
    """Return the command line of a process, or what it calls itself; nothing when there is no such process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in ("Z", "X")


def _belongs(pid: int, leader: int) -> bool:
    fields = _stat(pid)
    return len(fields) > 2 and int(fields[2]) == leader and not _is_resource_tracker(pid)


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name in parentheses may hold blanks and parentheses itself.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _is_resource_tracker(pid: int) -> bool:
    # It ends by itself, after it removed the shared memory that killed processes left behind.
    return b"resource_tracker" in title_of(pid)
