"""Candidates: images that a registry has under no name that anybody uses, and the proof that they work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import docker

from tritonbuild import smoke
from tritonbuild.console import Console, Step
from tritonbuild.engine import asking_engine, pull_image, push_image, tag_image, untag_image
from tritonbuild.errors import RegistryFailed
from tritonbuild.oci import Manifest
from tritonbuild.records import read_record, update_record
from tritonbuild.registry import Repository
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import candidate_tag


def push_candidate(
    spec: BuildSpec,
    image_id: str,
    repository: Repository,
    client: docker.DockerClient,
    folder: Path,
    console: Console,
) -> str:
    """Return the digest of the image in the registry; it is pushed unless the record knows it there."""
    with console.step("push", f"{spec.row}: push the candidate to {repository.name}") as step:
        known = read_record(folder).get("digest")
        if known and _holds(repository.find(known), image_id):
            step.outcome = f"{known[:19]} is there already"
            return str(known)
        name = repository.at(candidate_tag(spec, image_id))

        def push() -> str:
            # Each time anew: another release of the same image takes the name away when it is done.
            with asking_engine():
                tag_image(client, image_id, name)
                return push_image(client, name, _noting(step))

        try:
            digest = repository.patiently(push)
        finally:
            untag_image(client, name)
        if not _holds(repository.get(digest), image_id):
            message = f"{repository.at(digest)} is not the image that was pushed"
            raise RegistryFailed(message, hint="run it again; if it stays so, the registry changes images")
        update_record(folder, digest=digest)
        step.outcome = digest[:19]
        return digest


def _holds(manifest: Manifest | None, image_id: str) -> bool:
    """Tell whether a manifest is that of an image: its id is the digest of its configuration."""
    return manifest is not None and manifest.blobs()[0].digest == image_id


def prove_candidate(
    spec: BuildSpec,
    image_id: str,
    repository: Repository,
    manifest: Manifest,
    client: docker.DockerClient,
    folder: Path,
    console: Console,
    *,
    jobs: int,
) -> SmokeResult:
    """Pull what was pushed and run the smoke tests on that, at most ``jobs`` at a time on this machine."""
    reference = repository.at(manifest.digest)
    record = read_record(folder)
    if record.get("proven") == manifest.digest and smoke.is_proven(record, image_id):
        return smoke.read_result(record["smoke"])
    with console.step("pull", f"{spec.row}: pull {manifest.digest[:19]} back") as step:
        note = _noting(step)
        # The engine does not fetch layers that it has, so each is read here as well.
        for blob in manifest.blobs():
            note(f"{blob.digest[:19]} {blob.size / 1e6:.1f} MB")
            repository.check_blob(blob)
        repository.patiently(lambda: _pull(client, reference))
        step.outcome = f"{sum(blob.size for blob in manifest.blobs()) / 1e6:.0f} MB, compressed"
    proof = smoke.prove(spec, reference, image_id, folder, console, where="what the registry has", jobs=jobs)
    update_record(folder, smoke=proof.as_record(), proven=manifest.digest)
    return proof


def _noting(step: Step) -> Callable[[str], None]:
    """Return what shows how far something came, and ends it when all is to end."""

    def note(text: str) -> None:
        step.children.check()
        step.note(text)

    return note


def _pull(client: docker.DockerClient, reference: str) -> None:
    with asking_engine():
        reason = pull_image(client, reference)
    if reason is not None:
        message = f"{reference} was pushed, but cannot be pulled: {reason}"
        raise RegistryFailed(message, hint="run the same command again")
