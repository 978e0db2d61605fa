"""One server with every kind of model, which all conformance tests share.

Starting engines is what these tests spend their time on, so each model has several jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.repository import REPOSITORY, ROOT, SILENT, write_all
from tests.image.abilities import counts_others, has
from tests.image.conftest import (  # noqa: F401  (shared)
    _engine_fits,
    address,
    bundle,
    engine,
    gpus,
    image,
    pytest_runtest_makereport,
    spec,
    start,
)
from tests.image.places import GRPC, HTTP, METRICS, Starter
from tests.image.repository import ONE_BY_ONE
from tests.image.serving import PublishedClient
from tritonbuild.spec import BuildSpec

# Where the second server in the same container listens.
SECOND_HTTP, SECOND_METRICS = 9000, 9002
MODELS = ("text", "pair", "upper", "bls", "bls_stream", "chain")


@pytest.fixture(scope="package")
def files(spec: BuildSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with models, adapters and repository."""
    folder = tmp_path_factory.mktemp("conformance")
    write_all(folder, spec)
    return folder


@pytest.fixture(scope="package")
def fleet(start: Starter, spec: BuildSpec, gpus: bool, files: Path) -> Iterator[Fleet]:
    """A server with all models under explicit control."""
    if counts_others(spec):
        pytest.skip(f"engines of vLLM {spec.vllm} with the same arguments do not fit on one GPU")
    models = (*MODELS, "embedding" if has(spec, "runner") else SILENT)
    command = [
        "tritonserver",
        f"--model-repository={REPOSITORY}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        # Python-based backends are given what the Python backend is given, which only a verbose log shows.
        "--backend-config=python,default-max-batch-size=8",
        "--backend-config=python,shm-region-prefix-name=first",
        "--log-verbose=1",
    ]
    environment = ONE_BY_ONE if spec.is_cuda else {}
    if spec.is_cuda or not spec.abilities["unique-shared-memory"]:
        command.append("--model-load-thread-count=1")
    ports = (HTTP, GRPC, METRICS, SECOND_HTTP, SECOND_METRICS)
    with start(command, mounts={files: ROOT}, publish=ports, gpus=gpus, environment=environment) as container:
        server = Fleet(container, PublishedClient(container), "text", spec)
        server.wait_until_ready()
        yield server
