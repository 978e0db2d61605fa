"""Containers of the image under test, and ways to talk to the server in one, or wherever it runs."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import docker
import pytest
import requests
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.images import Image
from docker.types import DeviceRequest
from docker.utils.socket import STDERR, STDOUT
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.image.places import HTTP, Place

# The reaper is an image of its own, which machines without a registry cannot pull. Every
# container is removed by the `with` block that started it.
testcontainers_config.ryuk_disabled = True

# Loading a model for the first time on a slow, shared machine takes minutes.
READY_WITHIN = 300
# Also for the request to load a model, which starts an engine.
ANSWER_WITHIN = 300
# As in the `docker run` line that the build prints: vLLM's queues do not fit into Docker's 64 MB.
SHARED_MEMORY = "1g"
SECOND = 1_000_000_000
# Before each piece of what a command prints: where it printed it, and how long the piece is.
FRAME_HEADER = struct.Struct(">BxxxL")


@dataclass(frozen=True)
class Reply:
    """What the server answered to one request."""

    status: int
    text: str

    def json(self) -> dict[str, Any]:
        """Return the JSON object in the body; fail with the whole body when it holds none."""
        try:
            value = json.loads(self.text)
        except ValueError:
            pytest.fail(f"status {self.status}, and the body is not JSON: {self.text!r}")
        assert isinstance(value, dict), f"status {self.status}, and the body is no object: {self.text!r}"
        return value

    def events(self) -> list[dict[str, Any]]:
        """Return the server-sent events in the body."""
        return parse_events(self.text)


def parse_events(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a text/event-stream."""
    return [json.loads(line.removeprefix("data:")) for line in text.splitlines() if line.startswith("data:")]


class Client(Protocol):
    """Sends HTTP requests to the server in a place; OSError when nobody listens."""

    def request(self, method: str, path: str, body: str | None = None, *, port: int = HTTP) -> Reply: ...


@dataclass(frozen=True)
class InsideClient:
    """Runs curl inside the place, which works without any network."""

    container: Place

    def request(self, method: str, path: str, body: str | None = None, *, port: int = HTTP) -> Reply:
        data = [] if body is None else ["--header", "Content-Type: application/json", "--data-raw", body]
        url = f"http://127.0.0.1:{port}{path}"
        result = execute(
            self.container,
            [
                "curl",
                "-sS",
                "--max-time",
                str(ANSWER_WITHIN),
                "--request",
                method,
                "--write-out",
                "\n%{http_code}",
                *data,
                url,
            ],
        )
        if result.code:
            raise ConnectionError(result.errors)
        text, _, status = result.output.rpartition("\n")
        return Reply(int(status), text)


@dataclass(frozen=True)
class PublishedClient:
    """Sends requests from the host to the published ports, as a user does."""

    container: Place

    def url(self, path: str, *, port: int = HTTP) -> str:
        if not self.container.ports:
            self.container.reload()
        published = self.container.ports.get(f"{port}/tcp")
        if not published:
            message = f"port {port} is not published"
            raise ConnectionError(message)
        return f"http://127.0.0.1:{published[0]['HostPort']}{path}"

    def request(self, method: str, path: str, body: str | None = None, *, port: int = HTTP) -> Reply:
        return send(method, self.url(path, port=port), body)


@dataclass(frozen=True)
class RemoteClient:
    """Sends requests to a server that runs anywhere."""

    host: str
    ports: Mapping[int, int]
    """Port of a server as it comes -> that of this one."""

    def request(self, method: str, path: str, body: str | None = None, *, port: int = HTTP) -> Reply:
        return send(method, f"http://{self.host}:{self.ports.get(port, port)}{path}", body)


def send(method: str, url: str, body: str | None) -> Reply:
    answer = requests.request(method, url, data=body, timeout=ANSWER_WITHIN)
    return Reply(answer.status_code, answer.text)


@dataclass(frozen=True)
class Result:
    """How a command in a container ended."""

    code: int
    output: str
    errors: str


def execute(
    container: Place,
    command: Sequence[str],
    *,
    user: str = "",
    environment: Mapping[str, str] | None = None,
    workdir: str | None = None,
) -> Result:
    """Run a command in a running container, as its own user unless told otherwise."""
    settings: dict[str, Any] = {"user": user, "environment": dict(environment or {}), "workdir": workdir}
    if isinstance(container, Container):
        code, streams = _execute_in_container(container, list(command), settings)
    else:
        code, streams = container.exec_run(list(command), demux=True, **settings)
    output, errors = ((part or b"").decode(errors="replace") for part in streams)
    return Result(code or 0, output, errors)


def _execute_in_container(
    container: Container, command: list[str], settings: dict[str, Any]
) -> tuple[int, tuple[bytes, bytes]]:
    """Do what docker-py's `exec_run` does, and lose nothing."""
    assert container.client is not None
    api = container.client.api
    created = api.exec_create(container.id, command, **settings)
    printed = {STDOUT: b"", STDERR: b""}
    for source, piece in frames(api.exec_start(created["Id"], socket=True)):
        printed[source] += piece
    return api.exec_inspect(created["Id"])["ExitCode"], (printed[STDOUT], printed[STDERR])


def frames(started: Any) -> Iterator[tuple[int, bytes]]:
    """Read all that a started command prints, piece by piece, each with STDOUT or STDERR; then close the socket.

    docker-py's own readers lose what a fast command has printed by the time the head of the answer is
    read: that is in the buffer through which the head came, and they go past it.
    """
    response = started._response
    try:
        started._sock.settimeout(None)
        reader = response.raw._fp.fp
        while header := reader.read(FRAME_HEADER.size):
            source, length = FRAME_HEADER.unpack(header)
            yield source, reader.read(length)
    finally:
        # docker-py leaves both open, even when the command has ended.
        response.close()
        started.close()


def check_output(container: Place, command: Sequence[str], *, user: str = "") -> str:
    """Run a command in a running container and return what it printed; fail when it failed."""
    result = execute(container, command, user=user)
    if result.code:
        shown = " ".join(command).strip()[:200]
        pytest.fail(f"`{shown}` ended with {result.code}:\n{result.output}{result.errors}", pytrace=False)
    return result.output


def log_tail(container: Place, lines: int = 30) -> str:
    """Return the last lines of a container's log, without the tables of server options."""
    kept = [
        line
        for line in container.logs(tail=500).decode(errors="replace").splitlines()
        if "UNAVAILABLE" in line or not line.startswith(("+--", "| "))
    ]
    return "\n".join(kept[-lines:])


@dataclass(frozen=True)
class Server:
    """A place in which tritonserver answers, and the client that reaches it."""

    container: Place
    client: Client
    model: str

    def get(self, path: str, *, port: int = HTTP) -> Reply:
        return self.client.request("GET", path, port=port)

    def post(self, path: str, body: object) -> Reply:
        """Send ``body`` as JSON, or as it is when it is a string."""
        return self.client.request("POST", path, body if isinstance(body, str) else json.dumps(body))

    def ask(
        self, text: str, *, stream: bool = False, inputs: Mapping[str, Any] | None = None, **parameters: Any
    ) -> Reply:
        """Send a prompt at temperature 0 unless ``parameters`` say otherwise."""
        body = {
            "text_input": text,
            **(inputs or {}),
            "parameters": {"stream": stream, "temperature": 0, **parameters},
        }
        return self.post(f"/v2/models/{self.model}/generate{'_stream' if stream else ''}", body)

    def answer(self, text: str, *, inputs: Mapping[str, Any] | None = None, **parameters: Any) -> str:
        """Return the text that a prompt is answered with."""
        reply = self.ask(text, inputs=inputs, **parameters)
        assert reply.status == 200, reply.text
        output: str = reply.json()["text_output"]
        return output

    def wait_until_ready(self, seconds: float = READY_WITHIN) -> None:
        """Poll until the server is ready; fail at once when its container has ended."""
        deadline = time.monotonic() + seconds
        state = "nobody listened"
        while time.monotonic() < deadline:
            self.container.reload()
            if self.container.status != "running":
                code = self.container.attrs["State"]["ExitCode"]
                pytest.fail(f"the server ended with code {code}:\n{log_tail(self.container)}", pytrace=False)
            # The container may end, or refuse connections, between two looks.
            with suppress(OSError, APIError):
                reply = self.get("/v2/health/ready")
                if reply.status == 200:
                    return
                state = f"the last answer was {reply.status} {reply.text}"
            time.sleep(0.5)
        pytest.fail(f"not ready within {seconds} s; {state}:\n{log_tail(self.container)}", pytrace=False)


@contextmanager
def running(
    image: Image,
    command: Sequence[str] | None = None,
    *,
    mounts: Mapping[Path, str] | None = None,
    publish: Sequence[int] = (),
    gpus: bool = False,
    environment: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[Container]:
    """Start a container, with no network unless ports are published, and remove it afterwards.

    ``command`` replaces the image's; ``mounts`` maps folders of the host to paths inside, read-only;
    ``publish`` gives ports of the container random ports of 127.0.0.1; ``settings`` go to docker-py.
    """
    if gpus:
        assert image.client is not None
        settings["device_requests"] = [gpu_request(image.client)]
    if not publish:
        settings.setdefault("network_mode", "none")
    settings.setdefault("shm_size", SHARED_MEMORY)
    container = DockerContainer(str(image.id), **settings).with_envs(**(environment or {}))
    if command is not None:
        container.with_command(list(command))
    for source, target in (mounts or {}).items():
        container.with_volume_mapping(str(source), target, "ro")
    for port in publish:
        # The type knows plain ports only; docker-py takes (address, port), None for a random one.
        container.ports[f"{port}/tcp"] = ("127.0.0.1", None)  # type: ignore[assignment]
    with container:
        yield container.get_wrapped_container()


def gpu_request(engine: docker.DockerClient) -> DeviceRequest | None:
    """Return how all NVIDIA GPUs are asked for: of NVIDIA's runtime, or by their CDI names; None without either."""
    info = engine.info()
    if "nvidia" in info.get("Runtimes", {}):
        return DeviceRequest(count=-1, capabilities=[["gpu"]])
    if any(spec for folder in info.get("CDISpecDirs") or () for spec in Path(folder).glob("nvidia*")):
        return DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=all"])
    return None


def has_gpus(engine: docker.DockerClient) -> bool:
    """Tell whether the engine can hand NVIDIA GPUs to containers."""
    return gpu_request(engine) is not None


def stop(container: Place, seconds: int = 30) -> int:
    """Do what `docker stop` does: return the exit code, 137 when the time was not enough."""
    container.stop(timeout=seconds)
    container.reload()
    code: int = container.attrs["State"]["ExitCode"]
    return code
