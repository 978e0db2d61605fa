"""Rows composed of a vendor's images: pulled through a mirror, checked, composed, served; or refused.

No image of NVIDIA's takes part: the stand-ins have a real Triton and a real vLLM, both for CPUs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from tests.daemon.ngc_matrix import BUILT_IN, ngc_matrix
from tests.daemon.project import Outcome, Project
from tests.daemon.registry import Registry
from tests.daemon.workshop import Workshop
from tests.image.layers import scan_image
from tests.image.serving import InsideClient, Server, check_output, execute, running
from tritonbuild.console import Console

COMPOSED, ON_VLLM = "24.08-cpu-ngc", "26.03-cuda-ngc"
NOWHERE = "sha256:" + "0" * 64
# What the stand-ins have and a composed image must not.
DECOYS = re.compile(r"opt/tritonserver/(backends/onnxruntime|include|python|third-party-src)/.*")
# Where the steps of the build have their mounts and marks.
MOUNTS = ("opt/libraries", "run/ngc", "run/collect_server.py", "run/check_vllm.py", "run/started")
FORMAT = re.compile(r"localhost:\d+/nvidia/[a-z]+:[0-9.a-z-]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Site:
    """A site with a mirror of NGC, on which stand-ins lie under NVIDIA's names.

    ``python`` is an image of the engine with vLLM, ``digests`` are those that the mirror gave.
    """

    registry: Registry
    workshop: Workshop
    python: str
    digests: dict[str, str]

    @property
    def mirror(self) -> list[str]:
        return ["--registry-mirror", self.registry.host]


@pytest.fixture(scope="session")
def site(
    engine: docker.DockerClient,
    registry: Registry,
    made_images: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    workshop = Workshop(engine, tmp_path_factory.mktemp("workshop"), Console(), made_images)
    debian = workshop.debian()
    minimal = workshop.minimal(debian)
    python = workshop.stage("python", debian)
    server = workshop.server(minimal, workshop.stage("server", debian))
    digests = {
        name: registry.push(image, name)
        for name, image in (
            ("nvidia/tritonserver:24.08-py3-min", minimal),
            ("nvidia/tritonserver:24.08-py3", server),
            ("nvidia/tritonserver:26.03-py3", server),
        )
    }
    return Site(registry, workshop, python, digests)


@pytest.fixture(scope="session")
def project(new_project: Callable[[], Project]) -> Project:
    """A copy of this checkout whose rows are those of the stand-ins."""
    project = new_project()
    project.borrow_locks(COMPOSED, "24.08-cpu-pypi")
    project.write_matrix(ngc_matrix())
    project.check("lock", ON_VLLM)
    return project


def build(project: Project, site: Site, row: str, *words: str) -> Outcome:
    """Build a row through the mirror, without smoke tests."""
    return project.run(
        "build", row, *site.mirror, "--no-smoke", "--tag", f"tritonbuild-standin:{row}", *words
    )


@pytest.fixture(scope="session")
def composed(project: Project, site: Site, engine: docker.DockerClient, made_images: list[str]) -> Image:
    """The image of a row with vLLM out of a lock."""
    outcome = build(project, site, COMPOSED)
    assert outcome.code == 0, outcome.err
    made_images.append(f"tritonbuild-standin:{COMPOSED}")
    return engine.images.get(f"tritonbuild-standin:{COMPOSED}")


@pytest.fixture(scope="session")
def on_vllm(project: Project, site: Site, engine: docker.DockerClient, made_images: list[str]) -> Image:
    """The image of a row whose base brings vLLM. The base is 2 GB, so it is not pushed, but found here."""
    base = f"{site.registry.host}/nvidia/vllm:26.03-py3"
    image = site.workshop.vllm(site.python, BUILT_IN)
    site.workshop.tag(image, base)
    outcome = build(project, site, ON_VLLM)
    assert outcome.code == 0, outcome.err
    made_images.append(f"tritonbuild-standin:{ON_VLLM}")
    return engine.images.get(f"tritonbuild-standin:{ON_VLLM}")


@pytest.fixture(scope="module")
def composed_box(composed: Image) -> Iterator[Container]:
    with running(composed, ["sleep", "infinity"]) as container:
        yield container


def description(container: Container) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(check_output(container, ["cat", "/opt/tritonserver/image.json"]))
    return value


# --- composed of a minimal base, a lock and a server image ---------------------------------


def test_base_and_server_come_from_the_mirror_and_are_recorded(
    composed: Image, composed_box: Container, site: Site
) -> None:
    labels = composed.labels
    base, server = labels["io.tritonbuild.base"], labels["io.tritonbuild.server"]
    for origin, name in (
        (base, "nvidia/tritonserver:24.08-py3-min"),
        (server, "nvidia/tritonserver:24.08-py3"),
    ):
        assert FORMAT.fullmatch(origin)
        assert origin == f"{site.registry.host}/{name}@{site.digests[name]}"
    assert labels["org.opencontainers.image.base.name"] == base.partition("@")[0]
    assert labels["org.opencontainers.image.base.digest"] == base.partition("@")[2]
    image = description(composed_box)
    assert (image["base"], image["base_digest"]) == (base, base.partition("@")[2])
    assert (image["triton"]["from"], image["triton"]["digest"]) == (server, server.partition("@")[2])
    assert site.registry.asked_for("nvidia/tritonserver")


def test_layers_hold_the_bases_files_once_and_nothing_of_the_rest(composed: Image) -> None:
    scan = scan_image(composed, {})
    assert len([entry for entry in scan.files if entry.name == "libcublas.so.12"]) == 1
    assert [str(entry) for entry in scan.files if DECOYS.fullmatch(entry.path)] == []
    assert [str(entry) for entry in scan.entries if entry.path.startswith(MOUNTS)] == []


def test_python_has_the_packages_of_the_lock_only(composed_box: Container) -> None:
    folder = "/usr/local/lib/python3.11/dist-packages"
    found = check_output(composed_box, ["sh", "-c", f"ls -d {folder}/numpy-*"]).split()
    assert found == [f"{folder}/numpy-1.26.4.dist-info"]


def test_libraries_that_the_base_lacks_come_with_the_server(composed_box: Container) -> None:
    found = check_output(composed_box, ["sh", "-c", "ls /usr/lib/x86_64-linux-gnu/"])
    assert re.search(r"^libb64-[0-9a-f]+\.so", found, re.MULTILINE)
    assert {"libdcgmmodulehealth.so.3", "libdcgmmodulehealth.so.3.3.6"} <= set(found.split())
    assert "not found" not in check_output(composed_box, ["ldd", "/opt/tritonserver/bin/tritonserver"])


def test_user_and_start_up_script_are_the_ones_of_our_images(composed_box: Container) -> None:
    assert check_output(composed_box, ["sh", "-c", "id -un; id -u"]).split() == ["triton-server", "1000"]
    assert check_output(composed_box, ["find", "/opt/tritonserver", "-writable", "-not", "-type", "l"]) == ""
    environment = check_output(
        composed_box, ["sh", "-c", "tr '\\0' '\\n' < /proc/1/environ; pgrep -n sleep || true"]
    )
    process = check_output(
        composed_box,
        [
            "sh",
            "-c",
            "for p in /proc/[0-9]*; do grep -qa sleep $p/cmdline && tr '\\0' '\\n' < $p/environ; done; true",
        ],
    )
    assert "STANDIN_ENTRYPOINT=ran" in process
    path = next(line for line in environment.splitlines() if line.startswith("PATH="))
    assert path.startswith("PATH=/opt/tritonserver/bin:/usr/local/cuda/bin:")


def test_the_composed_image_answers_a_prompt(composed: Image) -> None:
    with running(composed) as container:
        server = Server(container, InsideClient(container), "vllm_model")
        server.wait_until_ready()
        answer = server.answer(
            "What is the capital of France?", max_tokens=20, inputs={"exclude_input_in_output": True}
        )
        assert "Paris" in answer


# --- on a base that brings vLLM ------------------------------------------------------------


def test_an_image_on_nvidias_vllm_answers_prompts_and_its_client_asks_them(on_vllm: Image) -> None:
    # The stand-in's vLLM is for CPUs, where this has to be off; see docs/facts.md.
    serve = ["tritonserver", "--model-repository=/opt/tritonserver/model_repository"]
    with running(on_vllm, ["env", "TORCHDYNAMO_DISABLE=1", *serve]) as container:
        server = Server(container, InsideClient(container), "vllm_model")
        server.wait_until_ready()
        answer = server.answer(
            "What is the capital of France?", max_tokens=20, inputs={"exclude_input_in_output": True}
        )
        assert "Paris" in answer
        samples = "/opt/tritonserver/samples"
        command = ["python3", f"{samples}/client.py", "--input-prompts", f"{samples}/prompts.txt"]
        result = execute(container, [*command, "--results-file", "/tmp/results.txt"], workdir="/tmp")
        assert result.code == 0, result.output + result.errors
        assert len(check_output(container, ["cat", "/tmp/results.txt"])) > 100


def test_packages_of_nvidias_base_stay_as_they_are(on_vllm: Image, site: Site) -> None:
    listing = "import importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))"
    with running(on_vllm, ["sleep", "infinity"]) as container:
        found = check_output(container, ["python3", "-c", listing])
        image = description(container)
    base = site.registry.client.images.get(f"{site.registry.host}/nvidia/vllm:26.03-py3")
    with running(base, ["sleep", "infinity"]) as container:
        assert found == check_output(container, ["python3", "-c", listing])
    assert f"('vllm', '{BUILT_IN}')" in found
    assert "tritonclient" not in found
    assert image["vllm"]["version"] == on_vllm.labels["io.tritonbuild.vllm"] == BUILT_IN
    assert image["lock"] is None


@pytest.mark.parametrize("version", ["0.30.0+fb2e3ab6.nv26.4.cpu", "0.30.0", "0.16.0"])
def test_another_vllm_in_nvidias_base_ends_the_build_with_one_clear_line(
    project: Project, site: Site, version: str
) -> None:
    name = site.workshop.vllm(site.python, version)
    outcome = build(project, site, ON_VLLM, "--image", f"base,{name}")
    assert outcome.code == 8
    assert outcome.errors == [
        f"error: docker build ended with code 1: the base image has vLLM {version}, versions.yaml pins {BUILT_IN}"
    ]


def test_a_base_of_nobody_in_particular_ends_the_build_with_one_clear_line(
    project: Project, site: Site
) -> None:
    outcome = build(project, site, COMPOSED, "--image", f"base,{site.workshop.debian()}")
    assert outcome.code == 8
    assert len(outcome.errors) == 1
    assert "has no /opt/nvidia/nvidia_entrypoint.sh, so it is none of NVIDIA's" in outcome.errors[0]


# --- what the mirror hands out -------------------------------------------------------------


def test_a_pinned_image_is_pulled_by_its_digest(new_project: Callable[[], Project], site: Site) -> None:
    digest = site.digests["nvidia/tritonserver:24.08-py3-min"]
    pinned = new_project()
    pinned.borrow_locks(COMPOSED, "24.08-cpu-pypi")
    pinned.write_matrix(ngc_matrix(digests={"24.08": digest}))
    site.registry.forget("nvidia/tritonserver:24.08-py3-min")
    outcome = build(pinned, site, COMPOSED)
    assert outcome.code == 0, outcome.err
    assert f"base     {site.registry.host}/nvidia/tritonserver:24.08-py3-min@{digest}" in outcome.out


def test_a_mirror_with_another_image_than_the_pinned_one_is_refused(
    new_project: Callable[[], Project], site: Site
) -> None:
    pinned = new_project()
    pinned.borrow_locks(COMPOSED, "24.08-cpu-pypi")
    pinned.write_matrix(ngc_matrix(digests={"24.08": NOWHERE}))
    outcome = build(pinned, site, COMPOSED)
    actual = site.digests["nvidia/tritonserver:24.08-py3-min"]
    name = f"{site.registry.host}/nvidia/tritonserver:24.08-py3-min"
    assert outcome.code == 9
    assert outcome.errors == [
        f"error: {name} is not the pinned image: it is {actual}, and {NOWHERE} is wanted"
    ]


def test_a_server_image_that_the_mirror_lacks_ends_before_anything_is_built(
    project: Project, site: Site
) -> None:
    outcome = project.run(
        "build", COMPOSED, "--registry-mirror", f"{site.registry.host}/elsewhere", "--no-smoke",
        "--image", f"base,{site.registry.host}/nvidia/tritonserver:24.08-py3-min",
    )  # fmt: skip
    assert outcome.code == 9
    assert len(outcome.errors) == 1
    name = f"{site.registry.host}/elsewhere/nvidia/tritonserver:24.08-py3"
    assert f"server image {name} cannot be had: " in outcome.errors[0]
    assert "--registry-mirror HOST" in outcome.err
    assert "build the image" not in outcome.err


def test_doctor_asks_the_mirror(project: Project, site: Site) -> None:
    for name in ("24.08-py3-min", "24.08-py3"):
        site.registry.forget(f"nvidia/tritonserver:{name}")
    lines = project.run("doctor", COMPOSED, *site.mirror).out.splitlines()
    images = [line for line in lines if re.match(r"\w+\s+image:", line) or " image: " in line]
    for name in ("24.08-py3-min", "24.08-py3"):
        assert any(
            f"{site.registry.host}/nvidia/tritonserver:{name} can be pulled" in line for line in images
        ), lines
