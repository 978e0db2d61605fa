"""Fixtures of the tests that build images: a running engine, a registry, and nothing left behind."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

import docker
import pytest
from docker.errors import ImageNotFound

from tests.daemon.project import Project, copy_project
from tests.daemon.registry import Registry, running_registry
from tritonbuild.console import Console, Step
from tritonbuild.host import ensure_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine, which is installed and started as a build would do it."""
    with Console().step("engine", "an engine for these tests") as step:
        client = ensure_engine(step)
    yield client
    client.close()


@pytest.fixture
def console() -> Console:
    return Console(quiet=True, log_stream=io.StringIO())


@pytest.fixture
def step(console: Console) -> Step:
    return Step(console, "a test")


@pytest.fixture(scope="session")
def made_images(engine: docker.DockerClient) -> Iterator[list[str]]:
    """Names of images that are removed when the tests are over; with KEEP=1 they stay."""
    names: list[str] = []
    yield names
    if os.environ.get("KEEP") == "1":
        return
    for name in reversed(names):
        try:
            engine.images.remove(name, force=True)
        except ImageNotFound:
            continue


@pytest.fixture(scope="session")
def registry(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry of these tests' own."""
    with running_registry(engine, tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """A function that copies this checkout."""
    return lambda: copy_project(tmp_path_factory.mktemp("project"))
