"""From a built image to a promoted one: pushed, pulled back, proven, and only then tagged.

Each step leaves its outcome in the release's record, so that a release that was stopped goes on where it
was. What the record says of the registry is asked for again: somebody may have cleaned up there.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from tritonbuild import auditing, sbom, smoke
from tritonbuild.console import Console
from tritonbuild.engine import pull_image, push_image, tag_image, untag_image
from tritonbuild.errors import NotPromoted, RegistryFailed, Unreachable
from tritonbuild.evidence import AUDIT, PROVENANCE, SBOM, SMOKE, attach_evidence
from tritonbuild.files import write_atomic
from tritonbuild.holding import holding
from tritonbuild.host import ensure_engine
from tritonbuild.oci import Manifest
from tritonbuild.paths import ALLOWANCES, BUILD
from tritonbuild.pipeline import BuildOptions, BuildResult, build_row
from tritonbuild.promoting import promote
from tritonbuild.provenance import make_provenance
from tritonbuild.records import read_record, update_record
from tritonbuild.registry import Repository
from tritonbuild.signing import read_signer, seal
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import candidate_tag


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """Where to and under which conditions."""

    repository: str
    """``HOST[:PORT]/PATH``."""
    build: BuildOptions = field(default_factory=BuildOptions)
    without_gpu: bool = False
    allow_dirty: bool = False
    require_audit: bool = False
    """Whether a row is promoted only if the database of vulnerabilities could be asked."""
    osv_url: str = auditing.SERVICE
    key: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Released:
    """A promoted image."""

    spec: BuildSpec
    repository: str
    digest: str
    tags: tuple[str, ...]
    signed: bool
    passed: int
    skipped: tuple[str, ...]


def release_folder(spec: BuildSpec, repository: str, build_dir: Path | None = None) -> Path:
    """Return the folder with the record and the evidence of a row's release to a repository."""
    place = re.sub(r"[^A-Za-z0-9.-]", "_", repository)
    return (build_dir or BUILD) / "releases" / place / str(spec.row)


def release_row(spec: BuildSpec, options: ReleaseOptions, console: Console) -> Released:
    """Take one row from its sources to its tags in the registry; run again, it goes on where it was."""
    # Before anything is built: a key that cannot sign, or a registry's name that is none.
    signer = read_signer(options.key) if options.key else None
    repository = Repository(options.repository)
    place = release_folder(spec, options.repository, options.build.build_dir)
    with holding(place, f"{spec.row} is being released to {options.repository}") as folder:
        result = build_row(spec, options.build, console)
        revision = _check_revision(spec, result, options)
        with console.logging_to(folder / "release.log"):
            record = _begin(folder, result, revision, options.repository)
            with console.step("engine", f"{spec.row}: engine") as step:
                client = ensure_engine(step)
            digest = _push_candidate(spec, result, repository, client, folder, console)
            manifest = repository.get(digest)
            proof = _prove(spec, result, repository, manifest, client, folder, console)
            _check_gpu(spec, proof, options)
            contents = _list_contents(spec, result, client, folder, console)
            evidence = {
                AUDIT: _audit(spec, contents, options, folder, console),
                SBOM: sbom.make_sbom(spec, contents, result.image_id).encode(),
                SMOKE: _smoke_report(spec, digest, proof),
            }
            statement = make_provenance(
                spec,
                repository=options.repository,
                digest=digest,
                image=contents["image"],
                evidence=evidence,
                started=record["started"],
                finished=_finished(folder),
                without_gpu=options.without_gpu,
            )
            evidence[PROVENANCE] = _sealed(folder, seal(statement, signer), signed=signer is not None)
            with console.step("evidence", f"{spec.row}: attach {', '.join(evidence)}"):
                for name, data in evidence.items():
                    write_atomic(folder / name, data.decode())
                update_record(folder, evidence=attach_evidence(repository, manifest.descriptor, evidence))
            with console.step("promote", f"{spec.row}: promote {digest[:19]}") as step:
                tags = promote(spec, repository, manifest, revision)
                update_record(folder, tags=tags, promoted=_now())
                step.outcome = ", ".join(tags)
    return Released(
        spec=spec,
        repository=options.repository,
        digest=digest,
        tags=tags,
        signed=signer is not None,
        passed=proof.passed,
        skipped=proof.skipped,
    )


def _check_revision(spec: BuildSpec, result: BuildResult, options: ReleaseOptions) -> str:
    """Return the commit that the image says it was built from."""
    revision = result.revision
    if options.allow_dirty or (revision != "unknown" and not revision.endswith("-dirty")):
        return revision
    state = "a checkout without a commit" if revision == "unknown" else "files that are not committed"
    message = f"{spec.row} was built from {state}"
    raise NotPromoted(message, hint="commit first, or say --allow-dirty: its tag then ends with -dirty")


def _begin(folder: Path, result: BuildResult, revision: str, repository: str) -> Mapping[str, Any]:
    """Return the record of this image's release; that of another image is dropped."""
    record = read_record(folder)
    if (record.get("image_id"), record.get("revision")) != (result.image_id, revision):
        (folder / "record.json").unlink(missing_ok=True)
        update_record(
            folder,
            row=str(result.spec.row),
            repository=repository,
            image_id=result.image_id,
            revision=revision,
            started=_now(),
        )
    return read_record(folder)


def _push_candidate(
    spec: BuildSpec,
    result: BuildResult,
    repository: Repository,
    client: docker.DockerClient,
    folder: Path,
    console: Console,
) -> str:
    """Return the digest of the image in the registry, where it is under no name that anybody uses."""
    with console.step("push", f"{spec.row}: push the candidate to {repository.name}") as step:
        known = read_record(folder).get("digest")
        if known and _holds(repository.find(known), result.image_id):
            step.outcome = f"{known[:19]} is there already"
            return str(known)
        name = repository.at(candidate_tag(spec, result.image_id))
        tag_image(client, result.image_id, name)
        try:
            digest = repository.patiently(lambda: push_image(client, name, step.note))
        finally:
            untag_image(client, name)
        if not _holds(repository.get(digest), result.image_id):
            message = f"{repository.at(digest)} is not the image that was pushed"
            raise RegistryFailed(message, hint="run it again; if it stays so, the registry changes images")
        update_record(folder, digest=digest)
        step.outcome = digest[:19]
        return digest


def _holds(manifest: Manifest | None, image_id: str) -> bool:
    """Tell whether a manifest is that of an image: its id is the digest of its configuration."""
    return manifest is not None and manifest.blobs()[0].digest == image_id


def _prove(
    spec: BuildSpec,
    result: BuildResult,
    repository: Repository,
    manifest: Manifest,
    client: docker.DockerClient,
    folder: Path,
    console: Console,
) -> SmokeResult:
    """Pull what was pushed and run the smoke tests on that."""
    reference = repository.at(manifest.digest)
    if smoke.is_proven(read_record(folder), result.image_id):
        return smoke.read_result(read_record(folder)["smoke"])
    with console.step("pull", f"{spec.row}: pull {manifest.digest[:19]} back") as step:
        # The engine does not fetch layers that it has, so each is read here as well.
        for blob in manifest.blobs():
            step.note(f"{blob.digest[:19]} {blob.size / 1e6:.1f} MB")
            repository.check_blob(blob)
        repository.patiently(lambda: _pull(client, reference))
        step.outcome = f"{sum(blob.size for blob in manifest.blobs()) / 1e6:.0f} MB, compressed"
    with console.step("smoke", f"{spec.row}: smoke tests on what the registry has") as step:
        proof = smoke.run_smoke(spec, reference, result.image_id, folder, step)
        step.outcome = f"{proof.passed} passed, {len(proof.skipped)} skipped"
    update_record(folder, smoke=proof.as_record())
    return proof


def _pull(client: docker.DockerClient, reference: str) -> None:
    reason = pull_image(client, reference)
    if reason is not None:
        message = f"{reference} was pushed, but cannot be pulled: {reason}"
        raise RegistryFailed(message, hint="run the same command again")


def _check_gpu(spec: BuildSpec, proof: SmokeResult, options: ReleaseOptions) -> None:
    if spec.is_cuda and not options.without_gpu and any(smoke.NO_GPU in reason for reason in proof.skipped):
        message = f"{spec.row}: no GPU was there to prove the image on, so it is not promoted"
        raise NotPromoted(message, hint="release it on a machine with a GPU, or say --without-gpu (recorded)")


def _list_contents(
    spec: BuildSpec, result: BuildResult, client: docker.DockerClient, folder: Path, console: Console
) -> sbom.Contents:
    known: sbom.Contents | None = read_record(folder).get("contents")
    if known is not None:
        return known
    with console.step("sbom", f"{spec.row}: list what is inside") as step:
        contents = sbom.read_contents(client, result.image_id)
        step.outcome = f"{len(contents['python'])} Python and {len(contents['debian'])} Debian packages"
    update_record(folder, contents=contents)
    return contents


def _audit(
    spec: BuildSpec, contents: sbom.Contents, options: ReleaseOptions, folder: Path, console: Console
) -> bytes:
    """Return what is known of the parts' vulnerabilities; raise Vulnerable when that stops the release."""
    report = read_record(folder).get("audit")
    if report is None:
        allowances = auditing.read_allowances(ALLOWANCES)
        purls = auditing.purls_inside(contents)
        today = dt.datetime.now(dt.timezone.utc).date()
        with console.step("audit", f"{spec.name}: known vulnerabilities of {len(purls)} packages") as step:
            try:
                result = auditing.audit(purls, allowances, today=today, service=options.osv_url)
            except Unreachable as error:
                if options.require_audit:
                    raise
                report = {"asked": 0, "findings": [], "not_asked": error.message}
                step.outcome = "not asked"
                console.warn(
                    f"{spec.name}: {error.message}; the release says so (--require-audit refuses it)"
                )
            else:
                auditing.check_audit(spec.name, result)
                report = result.as_json()
                step.outcome = f"{len(result.findings)} found, all allowed"
        report["date"] = today.isoformat()
        update_record(folder, audit=report)
    return (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()


def _smoke_report(spec: BuildSpec, digest: str, proof: SmokeResult) -> bytes:
    report = {
        **proof.as_record(),
        "row": str(spec.row),
        "digest": digest,
        "gpu": spec.is_cuda and not any(smoke.NO_GPU in reason for reason in proof.skipped),
    }
    return (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()


def _finished(folder: Path) -> str:
    """Return when the image had passed; the same on every run."""
    if "finished" not in read_record(folder):
        update_record(folder, finished=_now())
    return str(read_record(folder)["finished"])


def _sealed(folder: Path, envelope: bytes, *, signed: bool) -> bytes:
    """Return the envelope that an earlier run made for the same statement, else this one.

    Some kinds of keys sign the same text differently each time.
    """
    earlier = folder / PROVENANCE
    if signed and earlier.is_file():
        before, now = json.loads(earlier.read_text(encoding="utf-8")), json.loads(envelope)
        keys = [{entry["keyid"] for entry in made["signatures"]} for made in (before, now)]
        if before["payload"] == now["payload"] and keys[0] == keys[1]:
            return earlier.read_bytes()
    return envelope


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
