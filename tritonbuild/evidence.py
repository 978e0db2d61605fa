"""What lies beside a released image: made, attached, and found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tritonbuild import sbom, signing
from tritonbuild.errors import NotTrusted
from tritonbuild.oci import Descriptor
from tritonbuild.registry import Repository

PROVENANCE = "provenance.dsse.json"
SBOM = "sbom.cdx.json"
AUDIT = "audit.json"
SMOKE = "smoke.json"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Kind:
    """How a file is stored: the type of its artifact and that of the file."""

    artifact_type: str
    media_type: str


KINDS: Mapping[str, Kind] = {
    SBOM: Kind(sbom.MEDIA_TYPE, sbom.MEDIA_TYPE),
    AUDIT: Kind("application/vnd.tritonbuild.audit.v1+json", "application/json"),
    SMOKE: Kind("application/vnd.tritonbuild.smoke.v1+json", "application/json"),
    PROVENANCE: Kind("application/vnd.in-toto+json", signing.MEDIA_TYPE),
}


def attach_evidence(
    repository: Repository, subject: Descriptor, files: Mapping[str, bytes]
) -> dict[str, str]:
    """Store each file as an artifact that refers to the image; return name -> digest of the artifact.

    All of it is read back. Where a registry keeps the list of referrers under a tag, another release of the
    same image may write that list at the same moment, and then ours is written again.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        attached = {
            name: repository.attach(
                subject, KINDS[name].artifact_type, {name: (data, KINDS[name].media_type)}
            ).digest
            for name, data in files.items()
        }
        try:
            find_evidence(repository, subject.digest)
        except NotTrusted:
            if not attempts_left:
                raise
        else:
            break
    return attached


def find_evidence(repository: Repository, digest: str) -> dict[str, list[bytes]]:
    """Return name -> the files of that name beside an image; raise NotTrusted when a kind is missing.

    There can be several: a release that was repeated attaches anew what differs.
    """
    names = {kind.artifact_type: name for name, kind in KINDS.items()}
    found: dict[str, list[bytes]] = {name: [] for name in KINDS}
    for entry in repository.referrers(digest):
        manifest = repository.get(entry.digest)
        content = manifest.content
        name = names.get(str(content.get("artifactType")))
        if name is None:
            continue
        if content.get("subject", {}).get("digest") != digest:
            message = f"{repository.at(entry.digest)} is listed beside {digest}, but is about something else"
            raise NotTrusted(message, hint="release the image again")
        found[name] += [repository.get_blob(Descriptor.read(layer)) for layer in content["layers"]]
    missing = [name for name, files in found.items() if not files]
    if missing:
        message = f"{repository.at(digest)} has no {', '.join(missing)} beside it"
        raise NotTrusted(message, hint="it was not released by this project, or without its evidence")
    return found
