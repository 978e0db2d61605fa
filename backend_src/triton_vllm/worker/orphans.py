"""Ends a worker whose model instance is gone.

When the server dies without unloading its models, Triton's stub can wait for it for ever with
Python's interpreter lock in its hands: then no code in the stub runs any more, and the engine would
keep its memory. The same goes for a stub that was killed.
"""

from __future__ import annotations

import os
import threading
import time

from triton_vllm import processes

INTERVAL = 1.0


def start_watch(server: int, stub: int) -> None:
    """Watch the stub and its server from a thread."""
    threading.Thread(target=watch, args=(server, stub), name="vllm-orphans", daemon=True).start()


def watch(server: int, stub: int, interval: float = INTERVAL) -> None:
    """Wait until the stub is gone or has lost its server, then kill it and this process's group."""
    while processes.is_running(stub) and processes.parent_of(stub) == server:
        time.sleep(interval)
    if processes.is_running(stub) and processes.parent_of(stub) != server:
        processes.kill([stub])
    end_group()


def end_group() -> None:
    """Kill all processes that the engine started, then this one."""
    group = processes.find_group(os.getpgid(0))
    processes.kill([pid for pid in group if pid != os.getpid()])
    os._exit(1)
