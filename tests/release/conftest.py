"""The engine, a registry on the loopback interface, and a proxy before it that can misbehave."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.daemon.registry import Registry, running_registry
from tests.release.proxy import Proxy, running_proxy
from tests.release.tiny import WAIT, make_image
from tritonbuild.console import Console
from tritonbuild.host import ensure_engine
from tritonbuild.paths import ROOT
from tritonbuild.registry import Repository

ROW = "24.08-cpu-pypi"
PATIENCE = 120
_TOLD = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def told(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Takes a line for the report: which fault ended how."""
    return pytestconfig.stash.setdefault(_TOLD, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_TOLD, [])
    if lines:
        terminalreporter.section(f"{len(lines)} injected faults")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    console = Console()
    with console.step("engine", "an engine for these tests") as step:
        client = ensure_engine(step)
    yield client
    client.close()


@pytest.fixture(scope="session")
def registry(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(engine, tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def proxy(registry: Registry) -> Iterator[Proxy]:
    with running_proxy(registry.host) as running:
        yield running


@dataclass(frozen=True)
class Ending:
    """How a run of the driver ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return re.findall(r"^error: (.*)$", self.err, flags=re.MULTILINE)

    @property
    def hints(self) -> list[str]:
        return re.findall(r"^hint: (.*)$", self.err, flags=re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """A row that is released to a repository of its own, from a build folder of its own."""

    client: docker.DockerClient
    image: str
    image_id: str
    name: str
    registry: Registry
    build_dir: Path

    def start(self, *arguments: str, row: str = ROW, **settings: tuple[str, ...]) -> subprocess.Popen[str]:
        """Start the driver; ``settings`` are those of ``tiny.replace_slow_parts``."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.release.tiny"),
                *(json.dumps({"image": self.image, **settings}), "release", row),
                *("--registry", self.name, "--build-dir", str(self.build_dir), *arguments),
            ],
            cwd=ROOT,
            env={**os.environ, "CI": "1", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, row: str = ROW, **settings: tuple[str, ...]) -> Ending:
        process = self.start(*arguments, row=row, **settings)
        out, err = process.communicate(timeout=PATIENCE)
        return Ending(process.returncode, out, err)

    @property
    def path(self) -> str:
        return self.name.partition("/")[2]

    @property
    def repository(self) -> Repository:
        """The repository as the registry itself has it, past the proxy."""
        return Repository(f"{self.registry.host}/{self.path}", wait=WAIT)

    def tags(self) -> dict[str, str]:
        """Return tag -> digest of all tags, but those of candidates and of lists of referrers."""
        repository = self.repository
        answer = repository._session.ask("GET", "tags/list")
        names = (answer.json()["tags"] or []) if answer is not None else []
        return {
            name: repository.get(name).digest
            for name in sorted(names)
            if not name.startswith(("rc-", "sha256-"))
        }

    def assert_only_right_tags(self) -> None:
        for tag, digest in self.tags().items():
            assert self.repository.get(digest).blobs()[0].digest == self.image_id, tag


@pytest.fixture
def new_release(
    engine: docker.DockerClient, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Release]]:
    """A function that prepares the release of an image that nobody has released before."""
    made: list[Release] = []

    def make(host: str | None = None, *, row: str = ROW, name: str | None = None) -> Release:
        key = uuid.uuid4().hex[:12]
        image = f"tiny-release:{key}"
        image_id = make_image(engine, image, row, key.encode())
        folder = tmp_path_factory.mktemp("build")
        release = Release(
            engine, image, image_id, f"{host or registry.host}/{name or f'r{key}/tiny'}", registry, folder
        )
        made.append(release)
        return release

    yield make
    for release in made:
        engine.images.remove(release.image_id, force=True)
