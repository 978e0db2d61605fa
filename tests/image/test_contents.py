"""What is in the image: the row's versions, readable files, the right user."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.image.places import Place
from tests.image.serving import check_output, execute
from tritonbuild.files import sha256_file
from tritonbuild.labels import REVISION, static_labels
from tritonbuild.locking import LOCK
from tritonbuild.paths import IMAGE_FILES
from tritonbuild.sbom import make_sbom
from tritonbuild.spec import BuildSpec

ROOT = "/opt/tritonserver"
PACKAGES = r"""
import importlib.metadata, json, sys
found = importlib.metadata.distributions(path=[sys.argv[1]])
print(json.dumps({d.metadata["Name"]: d.version for d in found}))
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def packages(box: Place, spec: BuildSpec) -> dict[str, str]:
    """Name -> version of what Python finds in the image's site folder."""
    found = json.loads(check_output(box, ["python3", "-c", PACKAGES, spec.site_packages]))
    return {canonical(name): version for name, version in found.items()}


def test_python_is_the_one_of_the_row(box: Place, spec: BuildSpec) -> None:
    assert check_output(box, ["python3", "--version"]).startswith(f"Python {spec.base.python}.")


def test_vllm_and_torch_have_the_versions_of_the_row(packages: dict[str, str], spec: BuildSpec) -> None:
    assert packages[spec.vllm_package] == spec.vllm
    # Of a base that brings vLLM, only NVIDIA knows the torch.
    assert spec.torch in (packages["torch"], None)


def test_installed_packages_are_exactly_those_of_the_lock(packages: dict[str, str], spec: BuildSpec) -> None:
    if spec.engine is None:
        pytest.skip("the packages are those of NVIDIA's base; its vLLM is asserted above")
    text = (spec.folder / LOCK).read_text(encoding="utf-8")
    python = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
    assert packages == {canonical(name): version for name, version in python.findall(text)}


def test_description_agrees_with_the_row(description: dict[str, Any], spec: BuildSpec) -> None:
    assert description["row"] == str(spec.row)
    assert description["release"] == spec.row.release
    assert description["triton"]["version"] == spec.triton
    assert description["vllm"]["package"] == spec.vllm_package
    assert description["vllm"]["version"] == spec.vllm
    assert description["vllm"]["torch"] == spec.torch
    assert description["vllm"]["cuda"] == spec.cuda
    locked = sha256_file(spec.folder / LOCK) if spec.engine else None
    assert (description["lock"] or {}).get("sha256") == locked


def test_labels_agree_with_the_row(
    settings: dict[str, Any], description: dict[str, Any], spec: BuildSpec
) -> None:
    labels = settings["Labels"]
    assert {key: labels.get(key) for key in static_labels(spec)} == static_labels(spec)
    assert labels[REVISION]
    assert labels[REVISION] == description["revision"]


def test_image_runs_as_the_user_of_upstreams_images(box: Place) -> None:
    assert check_output(box, ["id", "-u"]).strip() == "1000"
    assert check_output(box, ["id", "-un"]).strip() == "triton-server"


def test_user_can_write_its_home_and_nothing_of_the_server(box: Place) -> None:
    check_output(box, ["sh", "-c", 'mkdir -p "$HOME/.cache/x" && touch "$HOME/.cache/x/y" "$HOME/z"'])
    assert check_output(box, ["find", ROOT, "-writable", "-not", "-type", "l"]) == ""
    assert execute(box, ["touch", f"{ROOT}/x"]).code != 0


def test_user_can_read_every_file_of_the_server(box: Place, spec: BuildSpec) -> None:
    assert check_output(box, ["find", ROOT, spec.site_packages, "-not", "-readable"]) == ""


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_licences_are_there_for_the_user_to_read(box: Place, name: str) -> None:
    assert len(check_output(box, ["cat", f"{ROOT}/{name}"])) > 100


def test_bill_of_materials_can_be_made_of_what_is_inside(box: Place, spec: BuildSpec) -> None:
    script = (IMAGE_FILES / "list_contents.py").read_text(encoding="utf-8")
    contents = json.loads(check_output(box, ["python3", "-c", script]))
    text = make_sbom(spec, contents, "sha256:" + "0" * 64)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {part["name"] for part in json.loads(text)["components"]}
    assert names >= {"tritonserver", "torch", "libc6", f"{ROOT}/bin/tritonserver"}


def test_licence_of_the_baked_model_is_there(
    box: Place, description: dict[str, Any], spec: BuildSpec
) -> None:
    if not description["model"]:
        pytest.skip("the image carries no model")
    text = check_output(box, ["cat", f"{ROOT}/models/{description['model']}/LICENSE"])
    if spec.model and description["model"] == spec.model.name and spec.model.licence.startswith("Apache"):
        assert "Apache License" in text


def test_layout_is_that_of_upstreams_images(box: Place) -> None:
    paths = ["bin/tritonserver", "lib", "backends/python", "backends/vllm/model.py", "samples/client.py"]
    paths += ["samples/prompts.txt", "samples/model_repository/vllm_model/config.pbtxt"]
    paths += ["model_repository/vllm_model/1/model.json"]
    missing = [path for path in paths if execute(box, ["test", "-e", f"{ROOT}/{path}"]).code]
    assert missing == []
    assert check_output(box, ["sh", "-c", "command -v tritonserver"]).strip() == f"{ROOT}/bin/tritonserver"


def test_sample_model_names_what_upstreams_names(box: Place) -> None:
    path = f"{ROOT}/samples/model_repository/vllm_model/1/model.json"
    assert json.loads(check_output(box, ["cat", path]))["model"] == "facebook/opt-125m"


def test_image_announces_its_ports_and_how_it_stops(settings: dict[str, Any]) -> None:
    assert set(settings["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "8002/tcp"}
    assert (settings.get("StopSignal") or "SIGTERM") == "SIGTERM"
