"""Where the backend's time goes: py-spy on its two Python processes under load."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.fleet import measure
from benchmarks.load import Endpoint, Load

# One recording of what is on the CPU, one of who holds the interpreter's lock.
RECORDINGS = {"cpu": (), "gil": ("--gil",)}


def record(
    pids: Mapping[str, int], load: Load, endpoint: Endpoint, processes: int, seconds: int, folder: Path
) -> dict[str, Any]:
    """Record named processes under a load. Returns a summary of each recording."""
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if program is None:
        return {"not run": "py-spy is not installed"}
    thread = threading.Thread(target=measure, args=(load, endpoint, processes))
    thread.start()
    results: dict[str, Any] = {}
    for kind, flags in RECORDINGS.items():
        # All processes at once, so that their shares are of the same time.
        with ThreadPoolExecutor() as pool:
            outputs = {name: folder / f"profile-{kind}-{name}.txt" for name in pids}
            running = {
                f"{kind}, {name}": pool.submit(_record_one, program, pid, flags, seconds, outputs[name])
                for name, pid in pids.items()
            }
            results.update({name: future.result() for name, future in running.items()})
    thread.join()
    return results


def _record_one(program: str, pid: int, flags: Sequence[str], seconds: int, output: Path) -> dict[str, Any]:
    command = [program, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", "200"]
    command += ["--nonblocking", "--threads", "--format", "raw", "--output", str(output), *flags]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"not run": str(error)}
    if not output.exists():
        return {"not run": (run.stderr or run.stdout)[-500:]}
    return summarise(output.read_text(encoding="utf-8"), 200 * seconds)


def summarise(raw: str, samples: int) -> dict[str, Any]:
    """Return the share of each thread and of the functions on top and on the way, of all samples taken."""
    threads: Counter[str] = Counter()
    leaves: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = stack.split(";")
        count = int(number)
        threads[frames[0]] += count
        leaves[frames[-1]] += count
        passed.update(dict.fromkeys(set(frames[1:]), count))
    return {
        "threads": _shares(threads, samples, 8),
        "functions": _shares(leaves, samples, 25),
        "with callees": _shares(passed, samples, 40),
    }


def _shares(counter: Counter[str], samples: int, top: int) -> dict[str, float]:
    return {name: round(count / samples, 3) for name, count in counter.most_common(top)}
