"""Fixtures of the tests that build images: a running engine, and nothing left behind."""

from __future__ import annotations

import io
from collections.abc import Iterator

import docker
import pytest

from tritonbuild.console import Console, Step
from tritonbuild.engine import connect


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    return connect()


@pytest.fixture
def console() -> Console:
    return Console(quiet=True, log_stream=io.StringIO())


@pytest.fixture
def step(console: Console) -> Step:
    return Step(console, "a test")


@pytest.fixture(scope="session")
def made_images(engine: docker.DockerClient) -> Iterator[list[str]]:
    """Names of images that are removed when the tests are over."""
    names: list[str] = []
    yield names
    for name in names:
        engine.images.remove(name, force=True)
