"""vLLM from the package index, put into a container that runs already; docs/installing.md shows how."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.daemon.rows import default_row
from tests.image.serving import InsideClient, Server, check_output, execute, running
from tritonbuild.paths import BACKEND
from tritonbuild.secrets import find_ca_bundle, index_settings
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference

CA, BACKENDS = "/run/ca.pem", "/opt/tritonserver/backends"
# Another vLLM that takes the torch in the image.
OTHER = "0.29.0"
# Triton's Python backend of these releases needs it, whatever vLLM asks for.
NUMPY = "numpy<2"
# The index has them for CUDA only; beside a torch for CPUs they keep transformers from being imported.
UNFIT = ("torchvision", "torchaudio", "torchcodec")


@pytest.fixture(scope="module")
def spec() -> BuildSpec:
    return default_row()


@pytest.fixture
def box(engine: docker.DockerClient, spec: BuildSpec) -> Iterator[Container]:
    """A container of the row's image with a way to the package index, in which nothing runs yet."""
    names = {"index-url": "PIP_INDEX_URL", "extra-index-url": "PIP_EXTRA_INDEX_URL"}
    names["allow-insecure-host"] = "PIP_TRUSTED_HOST"
    settings = {names[key]: v if isinstance(v, str) else " ".join(v) for key, v in index_settings().items()}
    bundle = find_ca_bundle(None)
    mounts: dict[Path, str] = {}
    if bundle:
        mounts[bundle] = CA
        settings["PIP_CERT"] = CA
    image = engine.images.get(image_reference(spec))
    with running(
        image, ["sleep", "infinity"], mounts=mounts, network_mode="bridge", env=settings
    ) as container:
        yield container


def pip(container: Container, *words: str) -> None:
    check_output(container, ["pip", *words], user="0")


def install(container: Container, requirement: str) -> None:
    """Do what the page says, line by line."""
    pip(container, "install", "--no-cache-dir", requirement)
    pip(container, "uninstall", "--yes", *UNFIT)
    pip(container, "install", "--no-cache-dir", NUMPY)


def copy_folder(source: Path, container: Container, target: str) -> None:
    """Do what `docker cp SOURCE/. CONTAINER:TARGET` does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(source, ".", filter=lambda info: None if "__pycache__" in info.name else info)
    assert container.put_archive(target, buffer.getvalue())


def answer(container: Container) -> str:
    """Start the server in the container and return what it says to a prompt."""
    container.exec_run(["tritonserver", "--model-repository=/opt/tritonserver/model_repository"], detach=True)
    server = Server(container, InsideClient(container), "vllm_model")
    server.wait_until_ready()
    return server.answer("What is the capital of France?", max_tokens=20)


def installed(container: Container, package: str) -> str:
    script = f"from importlib.metadata import version; print(version('{package}'))"
    return check_output(container, ["python3", "-c", script]).strip()


def test_vllm_and_the_backend_are_added_to_a_triton_that_has_neither(box: Container, spec: BuildSpec) -> None:
    """Triton and its Python backend only, as in NVIDIA's own containers: a stand-in for one of those."""
    assert spec.engine
    package, folder = spec.engine.package, f"{BACKENDS}/vllm"
    pip(box, "uninstall", "--yes", package)
    check_output(box, ["rm", "-rf", folder], user="0")
    assert execute(box, ["python3", "-c", "import vllm"]).code != 0

    install(box, f"{package}=={spec.vllm}")
    check_output(box, ["mkdir", folder], user="0")
    copy_folder(BACKEND, box, folder)

    assert installed(box, package) == spec.vllm
    assert "Paris" in answer(box)


def test_another_vllm_takes_the_place_of_the_image_s_own(box: Container, spec: BuildSpec) -> None:
    assert spec.engine
    assert spec.vllm != OTHER
    install(box, f"{spec.engine.package}=={OTHER}")
    assert installed(box, spec.engine.package) == OTHER
    assert "Paris" in answer(box)
