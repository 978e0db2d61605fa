"""Ends what a run left behind: `python strays.py FOLDER`, processes that work below that folder.

A server that outlives its run keeps the GPU's memory, and the next figures are not comparable.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

# Inherited by every process of a run, whatever session or name it gives itself.
MARK = b"BENCHMARKS_OFFLINE=1"


def find(folder: Path) -> list[int]:
    """Return the processes of a run, without those that lead to this one and those beside it in a pipe."""
    own, group = _ancestors(os.getpid()), os.getpgrp()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in own:
            # setproctitle overwrites the environment that others see, so the working folder counts too.
            with suppress(OSError):
                if os.getpgid(int(entry.name)) == group:
                    continue
                marked = MARK in (entry / "environ").read_bytes().split(b"\0")
                if marked or (entry / "cwd").readlink().is_relative_to(folder):
                    found.append(int(entry.name))
    return found


def _ancestors(pid: int) -> set[int]:
    own = set()
    while pid > 0:
        own.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return own


if __name__ == "__main__":
    for process in find(Path(sys.argv[1]).resolve()):
        with suppress(OSError):
            command = (
                Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            os.kill(process, signal.SIGKILL)
            sys.stdout.write(f"ended {process}: {command[:120]}\n")
