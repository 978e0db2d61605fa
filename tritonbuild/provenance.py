"""Where an image comes from, as an in-toto statement with SLSA's provenance, version 1."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tritonbuild.files import digest_of
from tritonbuild.spec import BuildSpec

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:tritonbuild:row:v1"


def builder_id() -> str:
    """Return who builds: the CI job, where there is one."""
    if os.environ.get("GITHUB_RUN_ID"):
        server, repository = os.environ["GITHUB_SERVER_URL"], os.environ["GITHUB_REPOSITORY"]
        return f"{server}/{repository}/actions/runs/{os.environ['GITHUB_RUN_ID']}"
    return os.environ.get("CI_JOB_URL") or "urn:tritonbuild:local"


def make_provenance(
    spec: BuildSpec,
    *,
    repository: str,
    digest: str,
    image: Mapping[str, Any],
    evidence: Mapping[str, bytes],
    started: str,
    finished: str,
    without_gpu: bool,
) -> dict[str, Any]:
    """Return the statement.

    ``digest`` (``sha256:...``) is the released manifest's, ``image`` the content of image.json, ``evidence``
    the other files beside the image by name: they are named by hash, so that the signature of the
    statement holds for them too. The times are ISO 8601.
    """
    return {
        "_type": STATEMENT,
        "subject": [{"name": repository, "digest": _hash(digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"row": str(spec.row), "without_gpu": without_gpu},
                "internalParameters": {"image": dict(image)},
                "resolvedDependencies": _materials(spec, image),
            },
            "runDetails": {
                "builder": {"id": builder_id()},
                "metadata": {"startedOn": started, "finishedOn": finished},
                "byproducts": [
                    {"name": name, "digest": _hash(digest_of(data))}
                    for name, data in sorted(evidence.items())
                ],
            },
        },
    }


def evidence_digests(statement: Mapping[str, Any]) -> dict[str, str]:
    """Return name -> digest (``sha256:...``) of the files that a statement holds for."""
    listed = statement["predicate"]["runDetails"]["byproducts"]
    return {entry["name"]: f"sha256:{entry['digest']['sha256']}" for entry in listed}


def _hash(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _materials(spec: BuildSpec, image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what went in, each with its hash where one is known."""
    materials: list[dict[str, Any]] = [
        {"name": "source", "digest": {"gitCommit": str(image["revision"]).removesuffix("-dirty")}},
        _material("base", str(image["base"]), image.get("base_digest")),
    ]
    triton = image["triton"]
    server_digest = triton.get("digest") or (f"sha256:{triton['sha256']}" if triton.get("sha256") else None)
    materials.append(_material("server", str(triton["from"]), server_digest))
    for component, commit in (triton.get("commits") or {}).items():
        materials.append({"name": f"source of {component}", "digest": {"gitCommit": commit}})
    if image.get("lock"):
        materials.append({"name": "requirements.lock", "digest": {"sha256": image["lock"]["sha256"]}})
    for wheel in spec.wheels:
        materials.append({"name": wheel.filename, "uri": wheel.url, "digest": {"sha256": wheel.sha256}})
    return materials


def _material(name: str, origin: str, digest: str | None) -> dict[str, Any]:
    material: dict[str, Any] = {"name": name, "annotations": {"origin": origin}}
    return material | ({"digest": _hash(digest)} if digest else {})
