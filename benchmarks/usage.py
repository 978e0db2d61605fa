"""CPU time of a target's processes: of all, and of its front end, which is all but the engine's own."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from benchmarks.target import Usage

# What vLLM calls the processes that compute; without setproctitle they are spawned Pythons.
_ENGINE_TITLES = ("VLLM::EngineCore", "VLLM::Worker", "multiprocessing.spawn")
STUB = "triton_python_backend_stub"
WORKER = "backends/vllm/worker.py"


def front_end(root: int) -> Usage:
    """Return the CPU time used by the tree below and including `root`, without the engine."""
    return _usage(_front_end_processes(psutil.Process(root)))


def everything(root: int) -> Usage:
    """Return the CPU time used by the tree below and including `root`, none of one that has ended."""
    try:
        process = psutil.Process(root)
        return _usage([process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return Usage({})


def find_backend(root: int) -> dict[str, int]:
    """Return the process ids of a Triton model's Python stub and of its engine's front end."""
    found: dict[str, int] = {}
    for process in _front_end_processes(psutil.Process(root)):
        try:
            name = _name(process)
        except psutil.Error:
            continue
        if name in ("stub", "worker"):
            found[name] = int(process.pid)
    return found


def _front_end_processes(process: psutil.Process) -> list[psutil.Process]:
    found = [process]
    try:
        children = process.children()
    except psutil.Error:
        return found
    for child in children:
        try:
            title = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if not any(engine in title for engine in _ENGINE_TITLES):
            found += _front_end_processes(child)
    return found


def _usage(processes: Iterable[psutil.Process]) -> Usage:
    seconds: dict[str, float] = {}
    for process in processes:
        try:
            times = process.cpu_times()
            seconds[f"{process.pid}:{_name(process)}"] = times.user + times.system
        except psutil.Error:
            continue
    return Usage(seconds)


def _name(process: psutil.Process) -> str:
    title = " ".join(process.cmdline())
    if STUB in title:
        return "stub"
    if WORKER in title:
        return "worker"
    if "tritonserver" in title:
        return "tritonserver"
    if "api_server" in title or "APIServer" in title:
        return "api_server"
    return "engine front end" if "raw_engine" in title else "other"
