"""Whether an image in a registry is what was released, byte for byte, with its evidence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonbuild.console import Step
from tritonbuild.errors import NotTrusted
from tritonbuild.evidence import AUDIT, PROVENANCE, SBOM, SMOKE, find_evidence
from tritonbuild.files import digest_of
from tritonbuild.oci import Manifest
from tritonbuild.provenance import PREDICATE, evidence_digests
from tritonbuild.registry import Repository
from tritonbuild.signing import is_signed, read_public_key, unseal

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An image that is what was released."""

    reference: str
    digest: str
    row: str
    revision: str
    signed: bool
    components: int
    passed: int
    skipped: tuple[str, ...]


def verify(reference: str, key_file: Path | None, step: Step) -> Verdict:
    """Check manifest, configuration, layers, bill of materials, smoke report, audit and provenance.

    Raises NotTrusted for what is not as released, RegistryFailed for bytes that are not what their digest
    says. Without a key the statement is checked, but anybody who can push could have written it.
    """
    name, _, version = _split(reference)
    repository = Repository(name)
    key = read_public_key(key_file) if key_file else None
    manifest = repository.get(version)
    _check_content(repository, manifest, step)
    step.note("evidence")
    evidence = find_evidence(repository, manifest.digest)
    statement, envelope = _statement(evidence[PROVENANCE], key, manifest.digest)
    digests = evidence_digests(statement)
    sbom, smoke, _ = (json.loads(_held_for(evidence[name], name, digests)) for name in (SBOM, SMOKE, AUDIT))
    config = manifest.blobs()[0].digest
    if sbom["metadata"]["component"]["bom-ref"] != config:
        message = f"the bill of materials is about another image than {config}"
        raise NotTrusted(message, hint="release the image again")
    if (smoke["digest"], smoke["failed"]) != (manifest.digest, 0) or not smoke["passed"]:
        message = f"the smoke report does not say that {manifest.digest} passed"
        raise NotTrusted(message, hint="do not use the image")
    image = statement["predicate"]["buildDefinition"]["internalParameters"]["image"]
    return Verdict(
        reference=reference,
        digest=manifest.digest,
        row=image["row"],
        revision=image["revision"],
        signed=is_signed(envelope),
        components=len(sbom["components"]),
        passed=smoke["passed"],
        skipped=tuple(smoke["skipped"]),
    )


def _split(reference: str) -> tuple[str, str, str]:
    """Return repository, separator, and tag or digest."""
    if "@" in reference:
        return reference.partition("@")
    head, separator, tail = reference.rpartition(":")
    return (head, separator, tail) if separator and "/" not in tail else (reference, ":", "latest")


def _check_content(repository: Repository, manifest: Manifest, step: Step) -> None:
    for blob in manifest.blobs():
        step.note(f"{blob.digest[:19]} {blob.size / 1e6:.1f} MB")
        repository.check_blob(blob)


def _statement(envelopes: list[bytes], key: SSlibKey | None, digest: str) -> tuple[dict[str, Any], bytes]:
    """Return the first statement about the image that the key signed, and its envelope."""
    trouble: NotTrusted | None = None
    for envelope in envelopes:
        try:
            statement = unseal(envelope, key)
        except NotTrusted as error:
            trouble = error
            continue
        subjects = {f"sha256:{subject['digest']['sha256']}" for subject in statement["subject"]}
        if statement["predicateType"] == PREDICATE and digest in subjects:
            return statement, envelope
    if trouble:
        raise trouble
    message = f"the provenance is about another image than {digest}"
    raise NotTrusted(message, hint="release the image again")


def _held_for(files: list[bytes], name: str, digests: dict[str, str]) -> bytes:
    """Return the file that the statement names by its hash."""
    for data in files:
        if digest_of(data) == digests.get(name):
            return data
    message = f"{name} is not the one that the provenance was made for"
    raise NotTrusted(message, hint="release the image again")
