"""A server with the tiny model, a container beside it for the clients, and a look at its processes."""

from __future__ import annotations

import json
import queue
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.images import Image
from docker.utils.socket import STDERR

from benchmarks import models
from tests.image.places import METRICS
from tests.image.repository import COMMAND, REPOSITORY, config_text, write_model
from tests.image.serving import (
    InsideClient,
    Reply,
    Server,
    check_output,
    execute,
    frames,
    log_tail,
    running,
)
from tritonbuild.paths import ROOT
from tritonbuild.spec import BuildSpec

MODEL = "tiny"
TINY = "tiny-opt"
WEIGHTS = "/models"
CHECKOUT = "/checkout"
LOG = "/tmp/server.log"
ARGUMENTS: dict[str, Any] = {
    "model": f"{WEIGHTS}/{TINY}",
    "load_format": "dummy",
    "enforce_eager": True,
    "max_model_len": 2048,
    # All of a crowd run at once, none waits for another to end.
    "max_num_seqs": 1024,
    # Enough for a crowd, and small enough that one has touched all of it after two rounds: it counts
    # as the engine's memory from then on.
    "kv_cache_memory_bytes": 192 << 20,
}
# Large buffers are given back when they are freed. By default the C library raises the size from which it
# does so to 32 MB, and what it keeps then looks like a leak.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
TABLE = (Path(__file__).parent / "process_table.py").read_text(encoding="utf-8")
STUB = "triton_python_backend_stub"
ENGINE = "EngineCore"
# The clients stand for other machines: they must not wait for a CPU until the engine lets them have one, or
# their own lag is what is measured.
CLIENT_SHARES = 1 << 18
# How long the engine's levels may take to reach the metrics page.
SETTLED_WITHIN = 60.0


@dataclass(frozen=True)
class Process:
    """A process of the server's container."""

    pid: int
    parent: int
    state: str
    started: int
    name: str
    command: str
    memory_kb: int
    threads: int
    files: int

    @property
    def identity(self) -> tuple[int, int]:
        """What tells it from a later process with the same number."""
        return self.pid, self.started


@dataclass(frozen=True)
class Table:
    """The processes of the server at one time, zombies left out."""

    processes: tuple[Process, ...]
    shared_kb: int

    def below(self, pid: int) -> list[Process]:
        """Return the descendants of a process."""
        children = [process for process in self.processes if process.parent == pid]
        return [found for child in children for found in (child, *self.below(child.pid))]

    @property
    def server(self) -> Process:
        return self._only("tritonserver", lambda process: process.name == "tritonserver")

    @property
    def stub(self) -> Process:
        return self._only(STUB, lambda process: STUB in process.command.partition(" ")[0])

    @property
    def engine(self) -> Process:
        """The engine's process: by its title, or the one below the stub that holds the most memory."""
        below = self.below(self.stub.pid)
        titled = [process for process in below if ENGINE in process.name or ENGINE in process.command]
        return max(titled or below, key=lambda process: process.memory_kb)

    @property
    def tree(self) -> list[Process]:
        """The server and all that it started."""
        return [self.server, *self.below(self.server.pid)]

    def _only(self, title: str, chosen: Callable[[Process], bool]) -> Process:
        found = [process for process in self.processes if chosen(process)]
        assert len(found) == 1, f"{len(found)} processes are {title}: {self.processes}"
        return found[0]


def read_table(container: Container) -> Table:
    """Look at the processes of a container."""
    value = json.loads(check_output(container, ["python3", "-S", "-E", "-c", TABLE]))
    found = (Process(**fields) for fields in value["processes"])
    return Table(tuple(process for process in found if process.state not in "ZX"), value["shared_kb"])


class Program:
    """A client program on its way; its events are read as they come."""

    def __init__(self, box: Container, name: str, plan: Mapping[str, Any]) -> None:
        command = ["python3", "-m", f"tests.soak.client.{name}", json.dumps(plan)]
        api = box.client.api
        environment = {"PYTHONPATH": CHECKOUT, "PYTHONDONTWRITEBYTECODE": "1"}
        started = api.exec_create(box.id, command, workdir=CHECKOUT, environment=environment, user="root")
        self._name = name
        self._socket = api.exec_start(started["Id"], socket=True)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors = bytearray()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, event: str, seconds: float) -> dict[str, Any]:
        """Return the next event, which must be the named one."""
        try:
            found = self._events.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"client {self._name}: no {event} within {seconds} s")
        if found is None or found["event"] != event:
            errors = self._errors.decode(errors="replace")
            pytest.fail(f"client {self._name} told {found} instead of {event}:\n{errors}")
        return found

    def _read(self) -> None:
        rest = b""
        for source, piece in frames(self._socket):
            if source == STDERR:
                self._errors += piece
                continue
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._events.put(json.loads(line))
        self._events.put(None)


@dataclass(frozen=True)
class Stage:
    """A ready server, and where its clients run: they outlive it and do not count as its memory."""

    server: Server
    box: Container
    seconds_to_ready: float

    @property
    def container(self) -> Container:
        return self.server.container

    def start(self, program: str, **plan: Any) -> Program:
        return Program(self.box, program, {"model": MODEL, **plan})

    def crowd(self, *groups: Mapping[str, Any], seed: int = 0, patience: float = 240.0) -> Program:
        """Start many requests at once."""
        return self.start("crowd", groups=groups, seed=seed, patience=patience)

    def table(self) -> Table:
        return read_table(self.container)

    def kill(self, pid: int) -> None:
        """Kill a process of the server's container."""
        check_output(self.container, ["sh", "-c", f"kill -9 {pid}"])

    def metric(self, name: str) -> float:
        """Return a metric of the model; fail when the page does not have it."""
        page = self.server.get("/metrics", port=METRICS).text
        found = re.findall(rf'^{re.escape(name)}\{{[^}}]*model="{MODEL}"[^}}]*\}} (\S+)$', page, re.MULTILINE)
        assert found, f"no {name} among the metrics:\n{page}"
        return sum(map(float, found))

    def wait_until_idle(self) -> float:
        """Wait until the engine has no request; return how long that took."""
        begun = time.monotonic()
        levels: list[float] = []
        while time.monotonic() < begun + SETTLED_WITHIN:
            levels = [self.metric(f"vllm:num_requests_{kind}") for kind in ("running", "waiting")]
            if not any(levels):
                return time.monotonic() - begun
            time.sleep(0.5)
        pytest.fail(f"after {SETTLED_WITHIN} s the engine still has (running, waiting) {levels}")

    def is_ready(self) -> bool:
        """Tell whether a balancer would still send requests for the model here."""
        try:
            replies: list[Reply] = [
                self.server.get(path) for path in ("/v2/health/ready", f"/v2/models/{MODEL}/ready")
            ]
        except OSError:
            return False
        return all(reply.status == 200 for reply in replies)

    def assert_answers(self, prompt: str = "w00010 w00011") -> None:
        """Ask a good question."""
        text = self.server.answer(prompt, max_tokens=3, ignore_eos=True)
        assert models.count_words(text) == models.count_words(prompt) + 3

    def log(self) -> str:
        """Return the end of the server's log, wherever it went."""
        self.container.reload()
        if self.container.status == "running":
            return execute(self.container, ["tail", "-n", "40", LOG]).output or log_tail(self.container)
        return log_tail(self.container)


@contextmanager
def stage(
    image: Image,
    spec: BuildSpec,
    folder: Path,
    *,
    options: Sequence[str] = (),
    survives: bool = False,
    gpus: bool = False,
) -> Iterator[Stage]:
    """Start a server with the tiny model.

    With `survives` it is not the container's main process, so that its death does not end the container.
    """
    repository, weights = folder / "repository", folder / "models"
    models.write_model(TINY, weights)
    write_model(repository, MODEL, ARGUMENTS, config_text(spec, REPORT_CUSTOM_METRICS="true"))
    for path in (folder, weights, weights / TINY):
        path.chmod(0o755)
    command = [*COMMAND, *options]
    mounts = {repository: REPOSITORY, weights: WEIGHTS}
    code = {ROOT / name: f"{CHECKOUT}/{name}" for name in ("benchmarks", "tests")}
    main = ["sleep", "infinity"] if survives else command
    begun = time.monotonic()
    with (
        running(image, main, mounts=mounts, gpus=gpus, env=ALLOCATOR) as container,
        running(
            image,
            ["sleep", "infinity"],
            mounts=code,
            network_mode=f"container:{container.id}",
            cpu_shares=CLIENT_SHARES,
        ) as box,
    ):
        if survives:
            begun = time.monotonic()
            line = f"exec {shlex.join(command)} >{LOG} 2>&1"
            container.exec_run(["sh", "-c", line], detach=True)
        server = Server(container, InsideClient(box), MODEL)
        server.wait_until_ready()
        yield Stage(server, box, time.monotonic() - begun)


def wait_for_exit(container: Container, seconds: float) -> int:
    """Wait for a container to end and return its exit code."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        container.reload()
        if container.status == "exited":
            code: int = container.attrs["State"]["ExitCode"]
            return code
        time.sleep(0.1)
    pytest.fail(f"the container is {container.status} after {seconds} s:\n{log_tail(container)}")


def send_signal(container: Container, name: str) -> float:
    """Send a signal to a container's main process; return when."""
    sent = time.monotonic()
    try:
        container.kill(name)
    except APIError as error:
        pytest.fail(f"signal {name}: {error}")
    return sent
