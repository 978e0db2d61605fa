"""Where the server under test runs: in a container, in the unpacked files of a bundle, or anywhere at all.

What the tests ask of a container is small, and docker-py's containers have it; the other places have the
same under the same names, so that no test knows which one it is in.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

HTTP, GRPC, METRICS = 8000, 8001, 8002
_FLAGS = {HTTP: "--http-port", GRPC: "--grpc-port", METRICS: "--metrics-port"}
# Also when the tests are killed no server stays behind.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
# Unpacking some gigabytes comes before the first start.
_STARTS_WITHIN = 900.0


class Place(Protocol):
    """The part of docker-py's containers that tests use."""

    @property
    def status(self) -> str: ...
    @property
    def attrs(self) -> dict[str, Any]: ...
    @property
    def ports(self) -> dict[str, Any]: ...
    def reload(self) -> None: ...
    def logs(self, *, tail: Any = "all") -> Any: ...
    def stop(self, *, timeout: float) -> None: ...
    def put_archive(self, path: str, data: bytes) -> bool: ...
    def exec_run(
        self,
        cmd: list[str],
        *,
        user: str = "",
        environment: Any = None,
        workdir: str | None = None,
        demux: bool = False,
        detach: bool = False,
    ) -> Any: ...


class Starter(Protocol):
    """Starts a command, or the image's own, in a place of its own; as `running` of serving.py does."""

    def __call__(
        self,
        command: Sequence[str] | None = None,
        *,
        mounts: Mapping[Path, str] | None = None,
        publish: Sequence[int] = (),
        gpus: bool = False,
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> AbstractContextManager[Place]: ...


class BundlePlace:
    """A command that the start script of a bundle runs."""

    def __init__(
        self, script: Path, folder: Path, process: subprocess.Popen[bytes], ports: Mapping[int, int]
    ):
        self._script, self._folder, self._process = script, folder, process
        self._detached: list[subprocess.Popen[bytes]] = []
        self.ports = {f"{inside}/tcp": [{"HostPort": str(port)}] for inside, port in ports.items()}

    @property
    def status(self) -> str:
        return "running" if self._process.poll() is None else "exited"

    @property
    def attrs(self) -> dict[str, Any]:
        code = self._process.poll()
        return {"State": {"ExitCode": 137 if code and code < 0 else code}}

    def reload(self) -> None:
        """Nothing to do: every answer is today's."""

    def logs(self, *, tail: Any = "all") -> bytes:
        text = (self._folder / "log").read_bytes()
        return text if tail == "all" else b"\n".join(text.splitlines()[-int(tail) :])

    def stop(self, *, timeout: float) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in self._detached:
            process.wait(timeout=10)

    def put_archive(self, path: str, data: bytes) -> bool:
        words = self._join(["tar", "-x", "-f", "-", "-C", path], user="0")
        return subprocess.run(words, input=data, capture_output=True, check=False).returncode == 0

    def exec_run(
        self,
        cmd: list[str],
        *,
        user: str = "",
        environment: Any = None,
        workdir: str | None = None,
        demux: bool = False,
        detach: bool = False,
    ) -> tuple[int | None, Any]:
        words = self._join(cmd, user=user, environment=environment, workdir=workdir)
        if detach:
            # Ends with the place, whose first process it is below.
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._detached.append(subprocess.Popen(words, start_new_session=True, **quiet))
            return None, b""
        result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return result.returncode, (result.stdout, result.stderr) if demux else result.stdout + result.stderr

    def _join(
        self, cmd: Sequence[str], *, user: str = "", environment: Any = None, workdir: str | None = None
    ) -> list[str]:
        words = [str(self._script), "--join", str(self._folder / "pid")]
        words += ["--user", {"root": "0"}.get(user, user)] if user else []
        words += [
            word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")
        ]
        words += ["--workdir", workdir] if workdir else []
        return [*words, "--", *cmd]


def free_ports(wanted: Sequence[int]) -> dict[int, int]:
    """Return a free port of this host for each of the server's, and others as they are."""
    chosen = {port: port for port in wanted}
    with ExitStack() as held:
        for port in _FLAGS:
            # Held until all are chosen, so that no two are the same.
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            chosen[port] = listener.getsockname()[1]
    return chosen


@dataclass(frozen=True)
class BundleStarter:
    """Starts commands in the files of a bundle, several at a time."""

    folder: Path
    command: Sequence[str]
    """The image's own."""

    @contextmanager
    def __call__(
        self,
        command: Sequence[str] | None = None,
        *,
        mounts: Mapping[Path, str] | None = None,
        publish: Sequence[int] = (),
        gpus: bool = False,
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Iterator[Place]:
        """Start it; ``publish`` shares the host's network, where each server gets ports of its own.

        Of an engine's ``settings`` only ``user`` means something here.
        """
        script = self.folder / "start.sh"
        words = list(command or self.command)
        ports = free_ports(publish) if publish else {}
        if words[0] == "tritonserver":
            words += [f"{_FLAGS[port]}={number}" for port, number in ports.items() if port in _FLAGS]
        options = [] if publish else ["--no-network"]
        options += [] if gpus else ["--no-gpu"]
        options += ["--user", settings["user"]] if settings.get("user") else []
        for name, value in (environment or {}).items():
            options += ["--env", f"{name}={value}"]
        for source, target in (mounts or {}).items():
            options += ["--bind", f"{source}:{target}:ro"]
        subprocess.run([str(script), "--unpack"], check=True, timeout=_STARTS_WITHIN)
        with tempfile.TemporaryDirectory(prefix="place-") as name, ExitStack() as stack:
            place = Path(name)
            log: IO[bytes] = stack.enter_context((place / "log").open("wb"))
            process = subprocess.Popen(
                [*_ENDS_WITH_US, str(script), "--pid-file", str(place / "pid"), *options, "--", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            running = BundlePlace(script, place, process, ports)
            try:
                _wait_for_start(running, place / "pid")
                yield running
            finally:
                running.stop(timeout=40)


def _wait_for_start(place: BundlePlace, pid_file: Path) -> None:
    """Wait until the command is the first process of its place, so that others can join it."""
    # A moment is too short for polling with a test's deadline: the script has unpacked before.
    while place.status == "running" and not (pid_file.is_file() and pid_file.read_text()):
        try:
            place._process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


class RemotePlace:
    """A server that runs somewhere; nothing but its ports can be seen of it."""

    status = "running"
    attrs: dict[str, Any] = {}  # noqa: RUF012  (never written)
    ports: dict[str, Any] = {}  # noqa: RUF012  (never written)

    def reload(self) -> None:
        """Nothing to do."""

    def logs(self, *, tail: Any = "all") -> bytes:
        return b"(the log of a server behind an address cannot be seen)"

    def stop(self, *, timeout: float) -> None:
        raise NotImplementedError

    def put_archive(self, path: str, data: bytes) -> bool:
        raise NotImplementedError

    def exec_run(self, cmd: list[str], **_: Any) -> Any:
        raise NotImplementedError
