"""The engine, a registry on the loopback interface, and a proxy before it that can misbehave."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.daemon.registry import Registry, running_registry
from tests.release.engines import OwnEngine, can_run_engines, running_engine
from tests.release.nursery import Ending, Nursery, Run, running_nursery
from tests.release.proxy import Proxy, running_proxy
from tests.release.tiny import WAIT, make_image
from tritonbuild.console import Console
from tritonbuild.files import write_atomic
from tritonbuild.host import ensure_engine
from tritonbuild.paths import BUILD
from tritonbuild.registry import Repository

ROW = "24.08-cpu-pypi"


@pytest.fixture(scope="package")
def told() -> Iterator[Callable[[str, str], None]]:
    """Takes a fault and what came of it, for the table that is left as build/faults.md."""
    lines: list[tuple[str, str]] = []
    yield lambda fault, outcome: lines.append((fault, outcome))
    if lines:
        table = [
            "| fault | outcome |",
            "|---|---|",
            *(f"| {fault} | {outcome} |" for fault, outcome in lines),
        ]
        write_atomic(BUILD / "faults.md", "\n".join(table) + f"\n\n{len(lines)} faults\n")


@pytest.fixture(scope="package")
def own_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine | None]:
    """An engine that tests may kill, None where none can be started."""
    if not can_run_engines():
        yield None
        return
    with running_engine(tmp_path_factory.mktemp("engine")) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", running.address)
        yield running


@pytest.fixture(scope="package")
def engine(own_engine: OwnEngine | None) -> Iterator[docker.DockerClient]:
    if own_engine is not None:
        client = own_engine.connect()
    else:
        console = Console()
        with console.step("engine", "an engine for these tests") as step:
            client = ensure_engine(step)
    yield client
    client.close()


@pytest.fixture(scope="package")
def nursery(engine: docker.DockerClient) -> Iterator[Nursery]:
    with running_nursery() as running:
        yield running


@pytest.fixture(scope="package")
def registry(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(engine, tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    with running_proxy(registry.host) as running:
        yield running


@dataclass(frozen=True)
class Release:
    """A row that is released to a repository of its own, from a build folder of its own."""

    client: docker.DockerClient
    nursery: Nursery
    image: str
    image_id: str
    name: str
    registry: Registry
    build_dir: Path
    runs: Path

    def command(self, *words: str, **settings: Any) -> Run:
        """Start the driver with any words; ``settings`` are those of ``tiny.run``."""
        return self.nursery.start(
            Path(tempfile.mkdtemp(dir=self.runs)), words, {"image": self.image, **settings}
        )

    def start(self, *arguments: str, row: str = ROW, **settings: Any) -> Run:
        """Start a release."""
        words = ("release", row, "--registry", self.name, "--build-dir", str(self.build_dir), *arguments)
        return self.command(*words, **settings)

    def run(self, *arguments: str, row: str = ROW, **settings: Any) -> Ending:
        return self.start(*arguments, row=row, **settings).wait()

    def verify(self, reference: str, *arguments: str) -> Ending:
        return self.command("verify", f"{self.registry.host}/{self.path}{reference}", *arguments).wait()

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
        shown = (name for name in sorted(names) if not name.startswith(("rc-", "sha256-")))
        # A registry may list a tag that it had no space to write.
        found = {name: repository.find(name) for name in shown}
        return {name: manifest.digest for name, manifest in found.items() if manifest is not None}

    def assert_only_right_tags(self) -> None:
        for tag, digest in self.tags().items():
            assert self.repository.get(digest).blobs()[0].digest == self.image_id, tag


@pytest.fixture
def new_release(
    engine: docker.DockerClient,
    nursery: Nursery,
    registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Release]]:
    """A function that prepares the release of an image that nobody has released before."""
    made: list[Release] = []

    def make(
        host: str | None = None, *, row: str = ROW, name: str | None = None, to: Registry = registry
    ) -> Release:
        key = uuid.uuid4().hex[:12]
        image = f"tiny-release:{key}"
        image_id = make_image(engine, image, row, key.encode())
        release = Release(
            client=engine,
            nursery=nursery,
            image=image,
            image_id=image_id,
            name=f"{host or to.host}/{name or f'r{key}/tiny'}",
            registry=to,
            build_dir=tmp_path_factory.mktemp("build"),
            runs=tmp_path_factory.mktemp("runs"),
        )
        made.append(release)
        return release

    yield make
    for release in made:
        engine.images.remove(release.image_id, force=True)
