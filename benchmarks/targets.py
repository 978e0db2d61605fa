"""The targets: each starts, takes loads, tells what it used, and stops."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from abc import abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks import observe, profile, triton, usage
from benchmarks.fleet import ClientFailure, measure
from benchmarks.load import Endpoint, Load, dump
from benchmarks.plan import Plan, flags
from benchmarks.servers import STOP_WITHIN, Server, StartFailure, TargetEnded, kill_group, tail
from benchmarks.tally import Tally, merge
from benchmarks.target import Target, Usage

MODEL = "bench"


class ProcessTarget(Target):
    """A target whose processes are one tree on this machine."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.plan = plan
        self.port = plan.port_of(name)
        # Its own, because others are up at the same time.
        self.work = plan.work / name
        self.work.mkdir(parents=True, exist_ok=True)

    @property
    @abstractmethod
    def pid(self) -> int: ...

    def front_end(self) -> Usage:
        return usage.front_end(self.pid)

    def everything(self) -> Usage:
        return usage.everything(self.pid)


class EngineTarget(ProcessTarget):
    """The engine alone, its client in the same process."""

    _process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> float:
        began = time.monotonic()
        with (self.work / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.raw_engine"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        if self._talk(json.dumps(dict(self.plan.engine_args))) != "ready":
            msg = f"did not start; {tail(self.work / 'log')}"
            raise StartFailure(msg)
        return time.monotonic() - began

    def ask(self, load: Load) -> Tally:
        reply = self._talk(dump(load, Endpoint("engine", 0, "")))
        if not reply:
            msg = f"ended while it was asked; {tail(self.work / 'log')}"
            raise TargetEnded(msg)
        return merge(load.max_tokens, [json.loads(reply)])

    def stop(self) -> tuple[float, int | None]:
        process = self._process
        if process is None:
            return 0.0, None
        began = time.monotonic()
        code: int | None = None
        try:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(STOP_WITHIN)
            took = time.monotonic() - began
        finally:
            kill_group(process.pid)
            process.wait()
        return took, code

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            msg = "the engine was not started"
            raise StartFailure(msg)
        return self._process

    def _talk(self, line: str) -> str:
        process = self._running()
        if process.stdin is None or process.stdout is None:
            return ""
        with suppress(OSError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
        return process.stdout.readline().strip()


class ServerTarget(ProcessTarget):
    """A server that is asked over HTTP."""

    server: Server
    endpoint: Endpoint

    @property
    def pid(self) -> int:
        return self.server.pid

    def start(self) -> float:
        return self.server.start()

    def ask(self, load: Load) -> Tally:
        try:
            return measure(load, self.endpoint, self.plan.client_processes, self.plan.client_realtime)
        except ClientFailure:
            self.server.check()
            raise

    def stop(self) -> tuple[float, int | None]:
        return self.server.stop()


class OpenAiTarget(ServerTarget):
    """vLLM's own server."""

    def __init__(self, name: str, plan: Plan) -> None:
        super().__init__(name, plan)
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags(plan.engine_args)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", MODEL]
        # No line for each request; every vLLM has this flag.
        command += ["--uvicorn-log-level", "warning"]
        self.server = Server(command, self.work / "log", self.port, "/health")
        self.endpoint = Endpoint("openai", self.port, MODEL)


class TritonTarget(ServerTarget):
    """Triton with our backend."""

    def __init__(self, name: str, plan: Plan) -> None:
        super().__init__(name, plan)
        if plan.triton is None:
            msg = "no Triton: name a server tree with --triton"
            raise StartFailure(msg)
        tree = triton.assemble(plan.triton, self._backend(), self.work)
        repository = triton.write_repository(self.work, MODEL, plan.engine_args)
        self.server = triton.make_server(tree, repository, MODEL, self.port, self.work / "log")
        self.endpoint = Endpoint("triton", self.port, MODEL)

    def _backend(self) -> Path | None:
        return self.plan.backend

    def observe(self) -> dict[str, Any]:
        # The server refreshes its GPU metrics every two seconds.
        time.sleep(2.5)
        observed = observe.triton(self.port)
        if self.plan.profile_seconds:
            observed["profile"] = self._profile()
        return observed

    def _profile(self) -> dict[str, Any]:
        pids = usage.find_backend(self.pid)
        if not pids:
            return {"not run": "the backend's processes were not found"}
        seconds = self.plan.profile_seconds
        load = Load(
            concurrency=max(self.plan.concurrency),
            seconds=2.0 * seconds + 6,
            stream=True,
            max_tokens=self.plan.max_tokens,
            seed=77,
            counting=self.plan.counting,
        )
        processes = self.plan.client_processes
        return profile.record(pids, load, self.endpoint, processes, seconds, self.plan.out)


class OtherTarget(TritonTarget):
    """Triton with another backend of the same contract, such as upstream's."""

    def _backend(self) -> Path | None:
        return self.plan.other_backend

    def observe(self) -> dict[str, Any]:
        # What it counts need not be what the clients got.
        return {}


KINDS: dict[str, type[ProcessTarget]] = {
    "engine": EngineTarget,
    "openai": OpenAiTarget,
    "triton": TritonTarget,
    "other": OtherTarget,
}


def make_target(name: str, plan: Plan) -> Target:
    """Return one of the plan's targets, not started. Raises StartFailure where it never could be."""
    return KINDS[name](name, plan)
