"""A real registry on the loopback interface: Debian's docker-registry, with a folder of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import ImageNotFound

from tritonbuild.console import Console
from tritonbuild.host import apt_install, can_install

_CONFIG = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}/storage
http:
  addr: 127.0.0.1:{port}
"""
_START_SECONDS = 20


@dataclass(frozen=True)
class Registry:
    """A registry that takes pushes and keeps a log of what it is asked."""

    client: docker.DockerClient
    host: str
    log: Path
    storage: Path

    def push(self, image: str, name: str) -> str:
        """Put an image of the engine into the registry as ``name`` (``nvidia/x:1``); return its digest.

        The engine forgets the name, so whoever wants the image by it has to pull.
        """
        repository, _, tag = f"{self.host}/{name}".rpartition(":")
        self.client.images.get(image).tag(repository, tag=tag)
        digest = None
        for line in self.client.images.push(repository, tag=tag, stream=True, decode=True):
            assert "error" not in line, line
            digest = line.get("aux", {}).get("Digest", digest)
        self.forget(name)
        assert digest
        return str(digest)

    def forget(self, name: str) -> None:
        """Make the engine forget that it has an image of this registry."""
        repository = f"{self.host}/{name}".rpartition(":")[0]
        for image in self.client.images.list(repository):
            for known in (*image.tags, *(image.attrs.get("RepoDigests") or ())):
                if known.startswith((f"{repository}:", f"{repository}@")):
                    with suppress(ImageNotFound):  # the digest goes with the last tag
                        self.client.images.remove(known, noprune=True)

    def asked_for(self, path: str) -> bool:
        """Tell whether anybody ever asked for a manifest of ``path`` (``nvidia/x``)."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        # The engine does not fetch a manifest that it has seen before, it only asks.
        return any(f"{method} /v2/{path}/manifests/" in text for method in ("GET", "HEAD"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_registry(client: docker.DockerClient, folder: Path) -> Iterator[Registry]:
    """Serve a registry from ``folder`` as long as this lasts; install Debian's where it is missing."""
    if shutil.which("docker-registry") is None:
        if not can_install():
            pytest.fail("docker-registry is not installed (Debian's package of that name)", pytrace=False)
        console = Console()
        with console.step("registry", "a registry for these tests") as step:
            apt_install(["docker-registry"], step)
    port = _free_port()
    config, log = folder / "config.yml", folder / "registry.log"
    config.write_text(_CONFIG.format(folder=folder, port=port), encoding="utf-8")
    with log.open("wb") as stream:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=stream, stderr=stream)
    try:
        _wait_for(f"http://127.0.0.1:{port}/v2/", process, log)
        # The engine takes plain HTTP from localhost only.
        yield Registry(client, f"localhost:{port}", log, folder / "storage")
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder / "storage", ignore_errors=True)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=1).status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail(f"the registry does not answer:\n{log.read_text(encoding='utf-8')}", pytrace=False)
