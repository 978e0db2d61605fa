"""Starts and stops the servers under test."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

POLL = 0.05
READY_WITHIN = 180.0
STOP_WITHIN = 60.0


class StartFailure(Exception):
    """A server did not get ready."""


class TargetEnded(Exception):
    """A target that was up is not any more."""


class Server:
    """One server process and what it started, in a session of its own."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        ready_port: int,
        ready_path: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = list(command)
        self._log = log
        self._port = ready_port
        self._path = ready_path
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            msg = "the server was not started"
            raise StartFailure(msg)
        return self._process.pid

    def start(self) -> float:
        """Start and wait until ready. Returns the seconds it took."""
        if get_status(self._port, self._path):
            msg = f"port {self._port} is in use"
            raise StartFailure(msg)
        began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        while (status := get_status(self._port, self._path)) != 200:
            if self._process.poll() is not None:
                msg = (
                    f"ended with exit code {self._process.returncode} before it was ready; {tail(self._log)}"
                )
                raise StartFailure(msg)
            if status == 500:
                msg = f"answers {self._path} with an internal error; {tail(self._log)}"
                raise StartFailure(msg)
            if time.monotonic() - began > READY_WITHIN:
                msg = f"not ready after {READY_WITHIN:.0f} s; {tail(self._log)}"
                raise StartFailure(msg)
            time.sleep(POLL)
        return time.monotonic() - began

    def stop(self) -> tuple[float, int | None]:
        """End the server with SIGTERM. Returns the seconds it took and the exit code (None: killed)."""
        if self._process is None:
            return 0.0, None
        began = time.monotonic()
        code: int | None = None
        try:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(STOP_WITHIN)
            took = time.monotonic() - began
        finally:
            kill_group(self._process.pid)
            self._process.wait()
        return took, code

    def check(self) -> None:
        """Raise TargetEnded when the process is not there any more."""
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            msg = f"ended with exit code {code}; {tail(self._log)}"
            raise TargetEnded(msg)


def tail(log: Path) -> str:
    """Return the end of a log, for a message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    # Triton's tables of its options would push the reason out.
    told = [line for line in lines if line and line[0] not in "+|"]
    return "its log ends:\n" + "\n".join(told[-25:])


def kill_group(leader: int) -> None:
    """Kill what a leader of a session has left behind, and itself."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def get_status(port: int, path: str) -> int:
    """Return the HTTP status of a GET, 0 without an answer."""
    try:
        return _get(port, path)[0]
    except OSError:
        return 0


def get_text(port: int, path: str) -> str:
    """Return the body of a GET, empty without an answer."""
    try:
        return _get(port, path)[1]
    except OSError:
        return ""


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", errors="replace")
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from None
    finally:
        connection.close()
