"""The image under test, and the containers that most tests share.

Starting the server takes half a minute, so one container serves all tests that only ask it
things; tests marked ``ends_server`` stop it and run last.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container
from docker.models.images import Image

from tests.image.serving import (
    SECOND,
    InsideClient,
    Server,
    check_output,
    has_gpus,
    log_tail,
    running,
)
from tritonbuild.identifiers import BuildId
from tritonbuild.loading import load_matrix
from tritonbuild.paths import MATRIX
from tritonbuild.preparing import read_recipe
from tritonbuild.smoke import NO_GPU
from tritonbuild.spec import BuildSpec, default_source, resolve_spec
from tritonbuild.tags import image_reference

_TOLD = pytest.StashKey[dict[str, str]]()
"""What went wrong before the tests -> the first test that it was told with."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ends_server: stops the server that other tests use; runs last")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("ends_server") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the server's log with a test that failed on it, and each broken start once."""
    report = yield
    if report.failed and report.when == "setup":
        told = item.session.stash.setdefault(_TOLD, {})
        text = str(report.longrepr)
        first = told.setdefault(text, item.name)
        if first != item.name:
            report.longrepr = f"{text.splitlines()[0]} (all of it stands with {first})"
    elif report.failed and report.when == "call":
        servers = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Server)]
        report.sections += [("log of the server", log_tail(server.container)) for server in servers]
    return report


@pytest.fixture(scope="session")
def spec(pytestconfig: pytest.Config) -> BuildSpec:
    """The row the image was built from, with another vLLM where it has one."""
    matrix = load_matrix(MATRIX)
    recipe = pytestconfig.getoption("--recipe")
    if recipe:
        return read_recipe(matrix, Path(recipe))
    name = pytestconfig.getoption("--row")
    if name is None:
        release = matrix.defaults.release
        cpu = [row for row in matrix.rows() if (row.release, row.variant) == (release, "cpu")]
        return resolve_spec(matrix, BuildId(release, "cpu", default_source(cpu)))
    for row in matrix.rows():
        if str(row) == name:
            return resolve_spec(matrix, row)
    pytest.fail(f"--row {name}: versions.yaml has {', '.join(map(str, matrix.rows()))}", pytrace=False)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the container engine."""
    try:
        # Exporting a large image takes minutes before its first byte.
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        pytest.fail(f"no container engine answers: {error}", pytrace=False)
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config, engine: docker.DockerClient, spec: BuildSpec) -> Image:
    """The image under test."""
    reference = pytestconfig.getoption("--image") or image_reference(spec)
    with suppress(ImageNotFound):
        return engine.images.get(reference)
    pytest.fail(f"no image {reference}; build it: ./build.py build {spec.row} --no-smoke", pytrace=False)


@pytest.fixture(scope="session")
def box(image: Image) -> Iterator[Container]:
    """A container in which nothing runs, for looking around."""
    with running(image, ["sleep", "infinity"]) as container:
        yield container


@pytest.fixture(scope="session")
def description(box: Container) -> dict[str, Any]:
    """image.json: what the image says it is made of."""
    value: dict[str, Any] = json.loads(check_output(box, ["cat", "/opt/tritonserver/image.json"]))
    return value


@pytest.fixture(scope="session")
def gpus(spec: BuildSpec, engine: docker.DockerClient) -> bool:
    """Whether to hand out GPUs. Skips where the image needs one and there is none."""
    if spec.is_cuda and not has_gpus(engine):
        pytest.skip(NO_GPU)
    return spec.is_cuda


@pytest.fixture(scope="session")
def server(image: Image, gpus: bool, description: dict[str, Any]) -> Iterator[Server]:
    """The image as `docker run IMAGE` starts it; without any network when it carries its model."""
    settings: dict[str, Any] = {} if description["model"] else {"network_mode": "bridge"}
    # The image's own check, only more often than every 30 s.
    settings["healthcheck"] = {"interval": 5 * SECOND}
    with running(image, gpus=gpus, **settings) as container:
        server = Server(container, InsideClient(container), "vllm_model")
        server.wait_until_ready()
        yield server
