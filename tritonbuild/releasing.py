"""From a built image to a promoted one: pushed, pulled back, proven, and only then tagged.

Each step leaves its outcome in the release's record, so that a release that was stopped goes on where it
was. What the record says of the registry is asked for again: somebody may have cleaned up there.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import docker

from tritonbuild import auditing, sbom, smoke
from tritonbuild.batch import Outcome, run_rows
from tritonbuild.candidates import prove_candidate, push_candidate
from tritonbuild.console import Console
from tritonbuild.engine import tag_image
from tritonbuild.errors import NotPromoted
from tritonbuild.evidence import AUDIT, PROVENANCE, SBOM, SMOKE, attach_evidence
from tritonbuild.files import write_atomic
from tritonbuild.holding import holding
from tritonbuild.host import ensure_engine
from tritonbuild.layers import Layers
from tritonbuild.oci import Manifest
from tritonbuild.paths import BUILD
from tritonbuild.pipeline import BuildOptions, BuildResult, Made, build_row
from tritonbuild.promoting import promote
from tritonbuild.provenance import make_provenance
from tritonbuild.proving import keep_proof
from tritonbuild.records import read_record, update_record
from tritonbuild.registry import Repository
from tritonbuild.revision import read_revision
from tritonbuild.signing import read_signer, seal
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec
from tritonbuild.turns import alone


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
class Released(BuildResult):
    """A promoted image: its tags are full names in the registry, its proof that of what the registry has."""

    digest: str
    signed: bool
    compressed: Layers
    """Bytes of each layer in the registry."""

    @property
    def ending(self) -> Made:
        return "released"


def release_folder(spec: BuildSpec, repository: str, build_dir: Path | None = None) -> Path:
    """Return the folder with the record and the evidence of a row's release to a repository."""
    return (build_dir or BUILD) / "releases" / _place(repository) / str(spec.row)


def _place(repository: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", repository)


def release_rows(
    specs: Sequence[BuildSpec], options: ReleaseOptions, console: Console, *, jobs: int = 1
) -> list[Outcome]:
    """Release rows, ``jobs`` at a time; see ``run_rows``."""

    def release(spec: BuildSpec, own: Console, /, *, built: Callable[[], None]) -> Released:
        return release_row(spec, options, own, built=built)

    return run_rows(specs, release, console, jobs=jobs)


def release_row(
    spec: BuildSpec,
    options: ReleaseOptions,
    console: Console,
    *,
    built: Callable[[], None] = lambda: None,
) -> Released:
    """Take one row from its sources to its tags in the registry; run again, it goes on where it was.

    Its build neither proves nor names the image: the proof is of what the registry gives back.
    """
    # Before anything is built: a key that cannot sign, a registry's name that is none, a change without a commit.
    signer = read_signer(options.key) if options.key else None
    repository = Repository(options.repository)
    _check_revision(spec, read_revision(), options)
    place = release_folder(spec, options.repository, options.build.build_dir)
    with (
        holding(place, f"{spec.row} is being released to {options.repository}") as folder,
        console.logging_to(folder / "release.log"),
    ):
        result = build_row(spec, replace(options.build, smoke=False, named=False), console, built=built)
        revision = _check_revision(spec, result.revision, options)
        record = _begin(folder, result, revision, options.repository)
        with console.step("engine", f"{spec.row}: engine") as step:
            client = ensure_engine(step)
        # With the last tag of an image in a repository the engine drops its digest there, whoever uses that.
        with alone(f"candidate-{result.image_id[-2:]}", console.children.check):
            digest = push_candidate(spec, result.image_id, repository, client, folder, console)
            manifest = repository.get(digest)
            proof = prove_candidate(
                spec,
                result.image_id,
                repository,
                manifest,
                client,
                folder,
                console,
                jobs=options.build.smoke_jobs,
            )
        with console.step("tag", f"{spec.row}: tag {', '.join(result.tags)}"):
            keep_proof(result, proof, options.build.build_dir)
            for tag in result.tags:
                tag_image(client, result.image_id, tag)
        _check_gpu(spec, proof, options)
        contents = _list_contents(spec, result, client, folder, console)
        evidence = {
            AUDIT: auditing.audit_once(
                spec.name,
                contents,
                folder,
                console,
                required=options.require_audit,
                service=options.osv_url,
            ),
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
        with (
            console.step("promote", f"{spec.row}: promote {digest[:19]}") as step,
            # Two rows that look at a moving tag at the same time could both take it.
            alone(f"promote-{_place(options.repository)}", step.children.check),
        ):
            tags = promote(spec, repository, manifest, revision)
            update_record(folder, tags=tags, promoted=_now())
            step.outcome = ", ".join(tags)
    return _released(
        result,
        proof,
        manifest,
        tags,
        repository,
        signed=signer is not None,
        log=folder / "release.log",
        seconds=console.seconds,
    )


def _released(
    result: BuildResult,
    proof: SmokeResult,
    manifest: Manifest,
    tags: Sequence[str],
    repository: Repository,
    *,
    signed: bool,
    log: Path,
    seconds: Mapping[str, float],
) -> Released:
    known = {entry.name: getattr(result, entry.name) for entry in fields(result)}
    changed = {
        # The one that is spelt like NGC's before the one with all pins.
        "tags": tuple(repository.at(tag) for tag in (*tags[1:], tags[0])),
        "smoke": proof,
        "seconds": dict(seconds),
        "log": log,
    }
    layers = {blob.digest: blob.size for blob in manifest.blobs()[1:]}
    return Released(**{**known, **changed}, digest=manifest.digest, signed=signed, compressed=layers)


def _check_revision(spec: BuildSpec, revision: str, options: ReleaseOptions) -> str:
    """Return the commit that an image is built from; raise NotPromoted where it is none."""
    if options.allow_dirty or (revision != "unknown" and not revision.endswith("-dirty")):
        return revision
    state = "a checkout without a commit" if revision == "unknown" else "files that are not committed"
    message = f"{spec.row} is built from {state}"
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
