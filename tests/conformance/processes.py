"""The processes of a model: its stubs, and whatever their engines consist of."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.conformance.fleet import Fleet
from tests.conformance.repository import SCRIPTS
from tests.image.serving import check_output

# The script that our backend runs an engine in; the process names itself after the engine where vLLM lets it.
WORKER = "/backends/vllm/worker.py"
Process = tuple[int, str]


def list_processes(fleet: Fleet) -> list[tuple[int, int, str]]:
    """Return pid, parent and command of every process in the container but those of the question."""
    listed = json.loads(check_output(fleet.container, ["python3", f"{SCRIPTS}/list_processes.py"]))
    return [(pid, parent, command) for pid, parent, command in listed if SCRIPTS not in command]


def processes_of(fleet: Fleet, model: str) -> list[Process]:
    """Return the stubs of a model's instances and all below them."""
    listed = list_processes(fleet)
    found = [(pid, command) for pid, _, command in listed if f"/repository/{model}/" in command]
    for process in found:
        found += [(pid, command) for pid, parent, command in listed if parent == process[0]]
    return found


def engines_of(fleet: Fleet, model: str) -> list[int]:
    """Return the processes of a model that run an engine: vLLM's own, or, for its V0 engine, our workers."""
    found = processes_of(fleet, model)
    own = [pid for pid, command in found if "EngineCore" in command]
    workers = [pid for pid, command in found if WORKER in command]
    # What a worker's engine forks has its command.
    parents = {pid: parent for pid, parent, _ in list_processes(fleet)}
    return own or [pid for pid in workers if parents.get(pid) not in workers]


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Return whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return bool(condition())
