"""The processes that the engine started."""

from __future__ import annotations

import os
import signal
import time


def find_descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, parents before their children; none without /proc."""
    children: dict[int, list[int]] = {}
    try:
        entries = os.listdir("/proc")
    except OSError:
        return []
    for entry in entries:
        if entry.isdigit():
            parent = parent_of(int(entry))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(0), [])
        # These end by themselves: Python's resource tracker, which removes what killed processes
        # left behind, and our guard.
        found += [child for child in below if not _is_helper(child)]
        waiting += below
    return found


def kill(pids: list[int]) -> None:
    """Kill processes at once; those that are gone already are skipped."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def wait_gone(pids: list[int], timeout: float) -> list[int]:
    """Wait until the processes are gone or zombies. Returns those that are left."""
    deadline = time.monotonic() + timeout
    left = [pid for pid in pids if is_running(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if is_running(pid)]
    return left


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name in parentheses may hold blanks and parentheses itself.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _is_helper(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read()
    except OSError:
        return False
    return b"resource_tracker" in command or b"guard.py" in command


def identity(pid: int) -> str:
    """Return what tells a process from a later one with the same number; empty when it is gone."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, or None when there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if len(fields) > 1 else None


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in ("Z", "X")
