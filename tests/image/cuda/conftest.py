"""A server that is handed all GPUs, and loads one model at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest

from tests.image.abilities import counts_others
from tests.image.cuda.gpus import Gpu, read_gpus
from tests.image.cuda.repository import REPOSITORY, ROOT, write_all
from tests.image.places import Place, Starter
from tests.image.repository import ONE_BY_ONE
from tests.image.serving import InsideClient, Server
from tests.image.standin import GPU_SHARE as SHARE
from tritonbuild.spec import BuildSpec

Loaded = Callable[[str], AbstractContextManager[Server]]
_GONE_WITHIN = 60.0


@pytest.fixture(scope="session")
def gpu_box(start: Starter, gpus: bool) -> Iterator[Place]:
    """A place with all GPUs in which nothing runs."""
    with start(["sleep", "infinity"], gpus=gpus) as place:
        yield place


@pytest.fixture(scope="session")
def gpu_list(gpu_box: Place) -> list[Gpu]:
    """The GPUs, as they are before anything runs on them."""
    return read_gpus(gpu_box)


@pytest.fixture(scope="package")
def gpu_server(
    start: Starter,
    spec: BuildSpec,
    gpus: bool,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Server]:
    """A server in which no model is loaded yet."""
    if counts_others(spec):
        request.getfixturevalue("server")
    folder = tmp_path_factory.mktemp("gpu")
    write_all(folder, spec)
    command = ["tritonserver", f"--model-repository={REPOSITORY}", "--model-control-mode=explicit"]
    with start(command, mounts={folder: ROOT}, gpus=gpus, environment=ONE_BY_ONE) as place:
        server = Server(place, InsideClient(place), "")
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="package")
def loaded(gpu_server: Server) -> Loaded:
    """Loads a model for as long as a `with` block lasts."""

    @contextmanager
    def load(name: str) -> Iterator[Server]:
        before = [gpu.used for gpu in read_gpus(gpu_server.container)]
        reply = gpu_server.post(f"/v2/repository/models/{name}/load", {})
        assert reply.status == 200, reply.text
        try:
            yield replace(gpu_server, model=name)
        finally:
            gpu_server.post(f"/v2/repository/models/{name}/unload", {})
            _wait_until_free(gpu_server, before)

    return load


def _wait_until_free(server: Server, before: list[int]) -> None:
    """Wait until an unloaded model has left the GPUs, for the next one counts what is free."""
    deadline = time.monotonic() + _GONE_WITHIN
    while time.monotonic() < deadline:
        gpus = read_gpus(server.container)
        if all(gpu.used < used + SHARE * gpu.memory / 4 for gpu, used in zip(gpus, before, strict=True)):
            return
        time.sleep(0.5)
    pytest.fail(
        f"an unloaded model still holds memory of a GPU after {_GONE_WITHIN} s: {gpus}, before {before}"
    )
