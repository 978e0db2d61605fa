"""Ends a model instance whose server is gone, from a process of its own.

When the server dies without unloading its models, Triton's stub can wait for it for ever with
Python's interpreter lock in its hands: then no code in the stub runs any more, and the engine's
processes keep their memory. The same goes for a stub that was killed.

Run as a script: guard.py SERVER_PID STUB_PID
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from triton_vllm import processes

INTERVAL = 1.0


def start_guard() -> subprocess.Popen[bytes] | None:
    """Start a guard for this process and its server; None where that is not possible."""
    command = [sys.executable, "-S", "-E", __file__, str(os.getppid()), str(os.getpid())]
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=True)
    except OSError:
        return None


def watch(server: int, stub: int, interval: float = INTERVAL) -> None:
    """Wait until the stub is gone or has lost its server, then kill it and all below it."""
    below: dict[int, str] = {}
    while True:
        found = {pid: processes.identity(pid) for pid in processes.find_descendants(stub)}
        # Looked at after the list was made: what a dead stub leaves has another parent already.
        if processes.parent_of(stub) != server or not processes.is_running(stub):
            break
        below = found
        time.sleep(interval)
    below.update(found)
    if processes.is_running(stub) and processes.parent_of(stub) != server:
        processes.kill([stub])
    # A number may belong to another process by now: only those that are still the same.
    processes.kill([pid for pid, identity in below.items() if processes.identity(pid) == identity])


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]))
