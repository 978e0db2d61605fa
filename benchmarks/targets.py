"""The targets: each starts, takes loads, tells what it used, and stops."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks import observe, profile, triton
from benchmarks.fleet import measure
from benchmarks.load import Endpoint, Load, dump
from benchmarks.plan import Plan, flags
from benchmarks.servers import STOP_WITHIN, Server, StartFailure
from benchmarks.tally import Tally, merge
from benchmarks.usage import Usage, find_backend, front_end

MODEL = "bench"


class Target(ABC):
    """One thing that answers prompts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    @abstractmethod
    def pid(self) -> int: ...

    @abstractmethod
    def start(self) -> float: ...

    @abstractmethod
    def ask(self, load: Load) -> Tally: ...

    @abstractmethod
    def stop(self) -> tuple[float, int | None]: ...

    def usage(self) -> Usage:
        return front_end(self.pid)

    def observe(self) -> dict[str, Any]:
        return {}


class EngineTarget(Target):
    """The engine alone, its client in the same process."""

    _process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> float:
        began = time.monotonic()
        with (self.plan.work / "engine.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.raw_engine"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        if self._talk(json.dumps(dict(self.plan.engine_args))) != "ready":
            tail = (self.plan.work / "engine.log").read_text(errors="replace").splitlines()[-25:]
            msg = "the engine did not start; its log ends:\n" + "\n".join(tail)
            raise StartFailure(msg)
        return time.monotonic() - began

    def ask(self, load: Load) -> Tally:
        return merge(load.max_tokens, [json.loads(self._talk(dump(load, Endpoint("engine", 0, ""))))])

    def stop(self) -> tuple[float, int | None]:
        process = self._process
        if process is None:
            return 0.0, None
        began = time.monotonic()
        code: int | None = None
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(STOP_WITHIN)
        took = time.monotonic() - began
        process.kill()
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


class ServerTarget(Target):
    """A server that is asked over HTTP."""

    server: Server
    endpoint: Endpoint

    @property
    def pid(self) -> int:
        return self.server.pid

    def start(self) -> float:
        return self.server.start()

    def ask(self, load: Load) -> Tally:
        return measure(load, self.endpoint, self.plan.client_processes, self.plan.client_realtime)

    def stop(self) -> tuple[float, int | None]:
        return self.server.stop()


class OpenAiTarget(ServerTarget):
    """vLLM's own server."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags(plan.engine_args)]
        command += ["--host", "127.0.0.1", "--port", str(plan.port), "--served-model-name", MODEL]
        # No line for each request; every vLLM has this flag.
        command += ["--uvicorn-log-level", "warning"]
        self.server = Server(command, plan.work / "openai.log", plan.port, "/health")
        self.endpoint = Endpoint("openai", plan.port, MODEL)


class TritonTarget(ServerTarget):
    """Triton with our backend."""

    def __init__(self, plan: Plan, backend: Path | None = None) -> None:
        super().__init__(plan)
        if plan.triton is None:
            msg = "no Triton: name a server tree with --triton"
            raise StartFailure(msg)
        tree = triton.assemble(plan.triton, backend or plan.backend, plan.work)
        repository = triton.write_repository(plan.work, MODEL, plan.engine_args)
        self.server = triton.make_server(tree, repository, MODEL, plan.port, plan.work / "triton.log")
        self.endpoint = Endpoint("triton", plan.port, MODEL)

    def observe(self) -> dict[str, Any]:
        # The server refreshes its GPU metrics every two seconds.
        time.sleep(2.5)
        observed = observe.triton(self.plan.port)
        if self.plan.profile_seconds:
            observed["profile"] = self._profile()
        return observed

    def _profile(self) -> dict[str, Any]:
        pids = find_backend(self.pid)
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

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, plan.other_backend)

    def observe(self) -> dict[str, Any]:
        # What it counts need not be what the clients got.
        return {}


KINDS: dict[str, type[Target]] = {
    "engine": EngineTarget,
    "openai": OpenAiTarget,
    "triton": TritonTarget,
    "other": OtherTarget,
}
