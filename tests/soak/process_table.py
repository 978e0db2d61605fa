"""Prints the processes of a container as JSON; runs inside it, on any Python 3 and nothing else."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def read_process(pid: int) -> dict[str, object]:
    name, _, rest = read(f"/proc/{pid}/stat").partition("(")[2].rpartition(")")
    fields = rest.split()
    status = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":" in line)
    return {
        "pid": pid,
        "parent": int(fields[1]),
        "state": fields[0],
        "started": int(fields[19]),
        "name": name,
        "command": read(f"/proc/{pid}/cmdline").replace("\0", " ").strip(),
        # Pages of files, such as libraries, come and go with the machine's memory.
        "memory_kb": sum(int(status.get(key, "0 kB").split()[0]) for key in ("RssAnon", "RssShmem")),
        "threads": int(fields[17]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())) if fields[0] != "Z" else 0,
    }


def main() -> None:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                found.append(read_process(int(path.name)))
            except OSError:
                # Gone meanwhile, or of another user.
                continue
    space = os.statvfs("/dev/shm")
    used = (space.f_blocks - space.f_bfree) * space.f_frsize
    json.dump({"processes": found, "shared_kb": used // 1024}, sys.stdout)


if __name__ == "__main__":
    main()
