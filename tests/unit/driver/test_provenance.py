from __future__ import annotations

import hashlib

import pytest

from tests.release.tiny import REVISION, image_json
from tritonbuild.provenance import builder_id, evidence_digests, make_provenance
from tritonbuild.spec import BuildSpec

DIGEST = "sha256:" + "7" * 64
EVIDENCE = {"sbom.cdx.json": b"{}", "smoke.json": b"[]"}


@pytest.fixture
def statement(cpu: BuildSpec) -> dict[str, object]:
    return make_provenance(
        cpu,
        repository="registry.example/x",
        digest=DIGEST,
        image=image_json("24.08-cpu-pypi"),
        evidence=EVIDENCE,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T01:00:00+00:00",
        without_gpu=False,
    )


def test_statement_is_about_the_released_digest(statement: dict[str, object]) -> None:
    assert statement["subject"] == [{"name": "registry.example/x", "digest": {"sha256": "7" * 64}}]


def test_files_beside_the_image_are_held_by_their_hashes(statement: dict[str, object]) -> None:
    expected = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in EVIDENCE.items()}
    assert evidence_digests(statement) == expected


def test_what_went_in_is_named_with_its_hash(cpu: BuildSpec, statement: dict) -> None:  # type: ignore[type-arg]
    materials = {
        entry["name"]: entry.get("digest")
        for entry in statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    assert materials["source"] == {"gitCommit": REVISION}
    assert materials["base"] == {"sha256": "1" * 64}
    assert materials["server"] == {"sha256": "2" * 64}
    assert materials["requirements.lock"] == {"sha256": "3" * 64}
    assert materials[cpu.wheels[0].filename] == {"sha256": cpu.wheels[0].sha256}


def test_builder_is_the_ci_job_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_RUN_ID", "CI_JOB_URL"):
        monkeypatch.delenv(name, raising=False)
    assert builder_id() == "urn:tritonbuild:local"
    monkeypatch.setenv("CI_JOB_URL", "https://gitlab.example/team/x/-/jobs/7")
    assert builder_id() == "https://gitlab.example/team/x/-/jobs/7"
    monkeypatch.setenv("GITHUB_RUN_ID", "9")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.example")
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/x")
    assert builder_id() == "https://github.example/team/x/actions/runs/9"
