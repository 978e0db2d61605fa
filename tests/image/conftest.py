"""What is under test, wherever it runs, and the servers that most tests share.

Starting a server takes half a minute, so one serves all tests that only ask it things; tests marked
``ends_server`` stop it and run last.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from docker.models.images import Image

from tests.image.abilities import SINCE, has
from tests.image.places import GRPC, HTTP, METRICS, BundleStarter, Place, RemotePlace, Starter
from tests.image.serving import (
    SECOND,
    InsideClient,
    RemoteClient,
    Server,
    check_output,
    has_gpus,
    log_tail,
    running,
)
from tests.image.standin import StandIn, write_standin
from tritonbuild.bundling import Bundle, read_bundle
from tritonbuild.identifiers import BuildId
from tritonbuild.loading import load_matrix
from tritonbuild.paths import MATRIX
from tritonbuild.preparing import read_recipe
from tritonbuild.smoke import NO_GPU
from tritonbuild.spec import BuildSpec, default_source, resolve_spec
from tritonbuild.tags import image_reference

CUDA_TESTS = Path(__file__).with_name("cuda")
_TOLD = pytest.StashKey[dict[str, str]]()
"""What went wrong before the tests -> the first test that it was told with."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of GPUs to the rows that have some."""
    is_cuda = "-cuda-" in (config.getoption("--row") or "")
    return True if collection_path == CUDA_TESTS and not is_cuda else None


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


@pytest.fixture(autouse=True)
def _engine_fits(request: pytest.FixtureRequest) -> None:
    """Skips, by name, what is about another vLLM than the row's."""
    for mark in request.node.iter_markers("engine_has"):
        spec: BuildSpec = request.getfixturevalue("spec")
        for what in mark.args:
            if not has(spec, what):
                pytest.skip(f"vLLM {spec.vllm} has no {what} (vLLM {SINCE[what]} has)")
    for mark in request.node.iter_markers("engine_lacks"):
        spec = request.getfixturevalue("spec")
        if all(has(spec, what) for what in mark.args):
            pytest.skip(f"vLLM {spec.vllm} has {', '.join(mark.args)}, and need not refuse it")


@pytest.fixture(scope="session")
def bundle(pytestconfig: pytest.Config) -> Bundle | None:
    """The bundle under test, if it is one."""
    folder = pytestconfig.getoption("--bundle")
    return read_bundle(Path(folder)) if folder else None


@pytest.fixture(scope="session")
def address(pytestconfig: pytest.Config) -> RemoteClient | None:
    """Where the server under test runs already, if it does."""
    url = pytestconfig.getoption("--url")
    if not url:
        return None
    parts = urlsplit(url)
    ports = {
        HTTP: parts.port or HTTP,
        GRPC: pytestconfig.getoption("--grpc-port"),
        METRICS: pytestconfig.getoption("--metrics-port"),
    }
    return RemoteClient(parts.hostname or "", ports)


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
    """The image under test, as the engine has it."""
    reference = pytestconfig.getoption("--image") or image_reference(spec)
    with suppress(ImageNotFound):
        return engine.images.get(reference)
    pytest.fail(f"no image {reference}; build it: ./build.py build {spec.row} --no-smoke", pytrace=False)


@pytest.fixture(scope="session")
def settings(request: pytest.FixtureRequest, bundle: Bundle | None) -> Mapping[str, Any]:
    """The image's settings: environment, labels, ports and so on."""
    if bundle:
        return bundle.config
    config: dict[str, Any] = request.getfixturevalue("image").attrs["Config"]
    return config


@pytest.fixture(scope="session")
def start(request: pytest.FixtureRequest, bundle: Bundle | None) -> Starter:
    """Starts commands in the image, each in a place of its own."""
    if bundle:
        return BundleStarter(bundle.folder, bundle.config["Cmd"])
    return functools.partial(running, request.getfixturevalue("image"))


@pytest.fixture(scope="session")
def box(start: Starter) -> Iterator[Place]:
    """A place in which nothing runs, for looking around."""
    with start(["sleep", "infinity"]) as place:
        yield place


@pytest.fixture(scope="session")
def description(box: Place) -> dict[str, Any]:
    """image.json: what the image says it is made of."""
    value: dict[str, Any] = json.loads(check_output(box, ["cat", "/opt/tritonserver/image.json"]))
    return value


@pytest.fixture(scope="session")
def gpus(request: pytest.FixtureRequest, spec: BuildSpec, bundle: Bundle | None, address: object) -> bool:
    """Whether to hand out GPUs. Skips where the image needs one and there is none."""
    if not spec.is_cuda or address:
        return spec.is_cuda
    here = Path("/dev/nvidiactl").exists() if bundle else has_gpus(request.getfixturevalue("engine"))
    if not here:
        pytest.skip(NO_GPU)
    return True


@pytest.fixture(scope="session")
def standin(
    spec: BuildSpec,
    bundle: Bundle | None,
    description: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> StandIn | None:
    """A model with random weights, where the image carries none and a host without a network may run it."""
    if description["model"] or not bundle:
        return None
    return write_standin(tmp_path_factory.mktemp("standin"), spec)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, address: RemoteClient | None, gpus: bool) -> Iterator[Server]:
    """The image as `docker run IMAGE` starts it; without any network when it carries its model."""
    if address:
        server = Server(RemotePlace(), address, "vllm_model")
        server.wait_until_ready(10)
        yield server
        return
    standin: StandIn | None = request.getfixturevalue("standin")
    loaded = request.getfixturevalue("description")["model"] or standin
    # The image's own check, only more often than every 30 s.
    settings: dict[str, Any] = {"healthcheck": {"interval": 5 * SECOND}}
    settings |= {} if loaded else {"network_mode": "bridge"}
    command, mounts = (standin.command, standin.mounts) if standin else (None, {})
    start: Starter = request.getfixturevalue("start")
    with start(command, mounts=mounts, gpus=gpus, **settings) as place:
        server = Server(place, InsideClient(place), "vllm_model")
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="session")
def speaks(request: pytest.FixtureRequest, address: object) -> None:
    """Skips where the model has random weights: it answers, but says nothing."""
    if not address and request.getfixturevalue("standin"):
        pytest.skip(
            "the image carries no model, and one with random weights stands in: it says nothing sensible"
        )
