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
_LOCKED = """\
  tls:
    certificate: {certificate}
    key: {key}
auth:
  htpasswd:
    realm: test
    path: {htpasswd}
"""
_START_SECONDS = 20


@dataclass(frozen=True)
class Lock:
    """What a registry with TLS and passwords is made of: files in PEM, and one in the format of htpasswd."""

    certificate: Path
    key: Path
    htpasswd: Path


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
def running_registry(
    client: docker.DockerClient, folder: Path, lock: Lock | None = None
) -> Iterator[Registry]:
    """Serve a registry from ``folder`` as long as this lasts; install Debian's where it is missing.

    With a ``lock``, whose certificate has to be for localhost, it speaks TLS and wants a password.
    """
    if shutil.which("docker-registry") is None:
        if not can_install():
            pytest.fail("docker-registry is not installed (Debian's package of that name)", pytrace=False)
        console = Console()
        with console.step("registry", "a registry for these tests") as step:
            apt_install(["docker-registry"], step)
    port = _free_port()
    config, log = folder / "config.yml", folder / "registry.log"
    text = _CONFIG.format(folder=folder, port=port) + (_LOCKED.format(**vars(lock)) if lock else "")
    config.write_text(text, encoding="utf-8")
    with log.open("wb") as stream:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=stream, stderr=stream)
    try:
        _wait_for(port, process, log)
        # The engine takes plain HTTP from localhost only.
        yield Registry(client, f"localhost:{port}", log, folder / "storage")
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder / "storage", ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the registry does not answer:\n{log.read_text(encoding='utf-8')}", pytrace=False)
