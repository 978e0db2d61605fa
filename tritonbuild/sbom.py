"""The bill of materials of an image, in CycloneDX: Python, Debian, native parts and models."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import docker

from tritonbuild.engine import run_python
from tritonbuild.paths import IMAGE_FILES
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_tag

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License
    from packageurl import PackageURL

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_SCRIPT = IMAGE_FILES / "list_contents.py"

Contents = Mapping[str, Any]


def read_contents(client: docker.DockerClient, image: str) -> Contents:
    """Return what ``image/list_contents.py`` finds inside an image."""
    contents: Contents = json.loads(run_python(client, image, _SCRIPT.read_text(encoding="utf-8")))
    return contents


def make_sbom(spec: BuildSpec, contents: Contents, image_id: str) -> str:
    """Return the bill of materials as JSON (CycloneDX 1.6).

    The same image gives the same text: the serial number comes from ``image_id`` (``sha256:...``), and the
    date is the row's.
    """
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    subject = Component(
        type=ComponentType.CONTAINER,
        name=spec.image,
        version=image_tag(spec),
        bom_ref=image_id,
        description=f"Triton Inference Server {spec.triton} with vLLM {spec.vllm}",
        properties=[Property(name="io.tritonbuild:image-id", value=image_id)],
    )
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, image_id),
        metadata=BomMetaData(
            component=subject, timestamp=dt.datetime.fromtimestamp(spec.epoch, tz=dt.timezone.utc)
        ),
        components=[
            *_python(contents["python"]),
            *_debian(contents["debian"], contents["release"]),
            *_files(contents["native"], ComponentType.FILE),
            *_files(contents["models"], ComponentType.MACHINE_LEARNING_MODEL),
            Component(
                type=ComponentType.APPLICATION,
                name="tritonserver",
                version=spec.triton,
                bom_ref=f"tritonserver@{spec.triton}",
                licenses=[_licence("BSD-3-Clause")],
                properties=[Property(name="io.tritonbuild:from", value=contents["image"]["triton"]["from"])],
            ),
        ],
    )
    bom.register_dependency(subject, bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    return json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def _licence(text: str) -> License:
    from cyclonedx.contrib.license.factories import LicenseFactory

    made: License = LicenseFactory().make_from_string(text)
    return made


def _library(package: Mapping[str, Any], purl: PackageURL, licences: Iterable[License]) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.LIBRARY,
        name=package["name"],
        version=package["version"],
        purl=purl,
        bom_ref=str(purl),
        licenses=licences,
    )


def _python(packages: Iterable[Mapping[str, str]]) -> Iterable[Component]:
    from packageurl import PackageURL

    for package in packages:
        purl = PackageURL("pypi", name=package["name"], version=package["version"])
        yield _library(package, purl, [_licence(package["licence"])] if package["licence"] else [])


def _debian(packages: Iterable[Mapping[str, Any]], release: Mapping[str, str]) -> Iterable[Component]:
    from cyclonedx.model.license import DisjunctiveLicense
    from packageurl import PackageURL

    for package in packages:
        purl = PackageURL(
            "deb",
            namespace=release["ID"],
            name=package["name"],
            version=package["version"],
            qualifiers={
                "arch": package["architecture"],
                "distro": f"{release['ID']}-{release['VERSION_ID']}",
                "upstream": f"{package['source']}@{package['source_version']}",
            },
        )
        # Debian's short names are not SPDX's.
        yield _library(package, purl, [DisjunctiveLicense(name=name) for name in package["licences"]])


def _files(files: Iterable[Mapping[str, Any]], kind: Any) -> Iterable[Component]:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component

    for file in files:
        yield Component(
            type=kind,
            name=file["path"],
            bom_ref=file["path"],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file["sha256"])],
        )
