"""A container engine of these tests' own, which they may kill and whose images are nobody's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

_START_SECONDS = 60


def can_run_engines() -> bool:
    """Tell whether an engine can be started beside the one that runs: by root, without a network of its own."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("dockerd", "setpriv"))


@dataclass
class OwnEngine:
    """An engine with folder, socket and process of its own. It builds nothing and starts no containers."""

    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def connect(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.address)

    def start(self) -> None:
        settings = self.folder / "daemon.json"
        settings.write_text("{}")
        # Left by one that was killed, whose processes may still be in the table.
        for left in ("pid", "exec/containerd/containerd.pid", "docker.sock"):
            (self.folder / left).unlink(missing_ok=True)
        with (self.folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # Without a bridge of its own an engine deletes docker0, and every other engine here is cut
                    # off. It has no right to.
                    *("setpriv", "--bounding-set=-net_admin"),
                    *("dockerd", "--config-file", settings, "--host", self.address, "--bridge=none"),
                    *("--data-root", self.folder / "data", "--exec-root", self.folder / "exec"),
                    *("--pidfile", self.folder / "pid", "--iptables=false", "--ip-forward=false"),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.05)
        text = (self.folder / "engine.log").read_text(errors="replace")
        pytest.fail(f"an engine of its own does not start:\n{text[-2000:]}", pytrace=False)

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(str(self.folder / "docker.sock"))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in probe.recv(100)
        return False

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@contextmanager
def running_engine(folder: Path) -> Iterator[OwnEngine]:
    """Run an engine from ``folder`` as long as this lasts."""
    engine = OwnEngine(folder)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        for mount in _mounts_below(folder):  # one that was killed leaves them
            subprocess.run(["umount", "--lazy", mount], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def _mounts_below(folder: Path) -> list[str]:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [mount for mount in mounts if mount.startswith(f"{folder}/")]
