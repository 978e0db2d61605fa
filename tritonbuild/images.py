"""The images that a build starts from: here already, else pulled, checked against their digests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import docker

from tritonbuild.console import Step
from tritonbuild.engine import ask_registry, find_image, pull_image, read_digests
from tritonbuild.errors import DownloadFailed
from tritonbuild.host import made_base, make_base
from tritonbuild.references import mirror_reference, pinned_digest, repository_of, without_digest
from tritonbuild.schema import Base, Server
from tritonbuild.turns import alone

NOT_PULLED = "pulling is switched off by --no-container-pull"


@dataclass(frozen=True, kw_only=True)
class PullPolicy:
    """Which registry is asked for images, and when."""

    mirror: str | None = None
    """``HOST[:PORT][/PREFIX]`` that stands in for every registry, or None."""
    allowed: bool = True
    always: bool = False


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """An image that a build starts from or copies from, as the engine has it."""

    reference: str
    """What FROM is given: with the digest where one is known."""
    image_id: str
    origin: str
    """Where it came from, for people and labels: the reference, or ``mmdebstrap SUITE``."""
    digest: str | None = None

    @property
    def name(self) -> str:
        return without_digest(self.reference)


def _find(client: docker.DockerClient, reference: str) -> FoundImage | None:
    """Return a local image; raise DownloadFailed when its digest is another than the pinned one."""
    image = find_image(client, reference)
    if image is None:
        return None
    pinned = pinned_digest(reference)
    digests = read_digests(image, repository_of(reference))
    if pinned and pinned not in digests:
        raise _other_digest(without_digest(reference), digests[0] if digests else "without a digest", pinned)
    digest = pinned or next(iter(digests), None)
    exact = f"{without_digest(reference)}@{digest}" if digest else reference
    return FoundImage(reference=exact, image_id=str(image.id), origin=exact, digest=digest)


def _other_digest(name: str, actual: str, pinned: str) -> DownloadFailed:
    message = f"{name} is not the pinned image: it is {actual}, and {pinned} is wanted"
    hint = "put the pinned image into that registry, or correct the digest in versions.yaml after checking it"
    return DownloadFailed(message, hint=hint)


def _obtain(
    client: docker.DockerClient, wanted: str, policy: PullPolicy, step: Step
) -> tuple[FoundImage | None, str]:
    """Return the image that is here or can be pulled, else None and the reason in one line."""
    source = mirror_reference(wanted, policy.mirror)
    here = _find(client, source) or _find(client, wanted)
    if here and not policy.always:
        return here, ""
    if not policy.allowed:
        return here, NOT_PULLED
    step.note(f"pulling {source}")
    reason = pull_image(client, source)
    if reason is None:
        return _find(client, source), "the engine does not have what it pulled"
    if here:
        step.milestone(f"{source} cannot be pulled ({reason}), the one that is here is used")
        return here, ""
    pinned = pinned_digest(source)
    if pinned:
        name = without_digest(source)
        answer = ask_registry(client, name)
        if answer.digest and answer.digest != pinned:
            raise _other_digest(name, answer.digest, pinned)
    return None, reason


def ensure_server(
    client: docker.DockerClient, server: Server, policy: PullPolicy, step: Step
) -> FoundImage | None:
    """Return the image that the server is copied from; None for a server that comes in a wheel."""
    if server.pinned_ref is None:
        return None
    image, reason = _obtain(client, server.pinned_ref, policy, step)
    if image is None:
        message = f"server image {mirror_reference(server.pinned_ref, policy.mirror)} cannot be had: {reason}"
        hint = "log in to its registry (docker login), name a mirror of it (--registry-mirror HOST)"
        raise DownloadFailed(message, hint=f"{hint}, or take another --server-source")
    return image


def ensure_base(
    client: docker.DockerClient, base: Base, policy: PullPolicy, step: Step, *, override: str | None = None
) -> FoundImage:
    """Return the base image to build from: local, else pulled, else made with mmdebstrap.

    ``override`` is a reference of the user's own: no mirror stands in for it, and nothing is made.
    """
    if override:
        image, reason = _obtain(client, override, replace(policy, mirror=None), step)
        if image is None:
            message = f"base image {override} cannot be had: {reason}"
            raise DownloadFailed(message, hint="name a base image you can pull: --image base,REF")
        return image
    made = made_base(base)
    # Who names a mirror wants it asked.
    if made and not policy.always and not policy.mirror and not find_image(client, base.pinned_ref):
        earlier = find_image(client, made)
        if earlier:
            step.note(f"{base.pinned_ref} is not here; {made}, made earlier, is used")
            return _made(base, made, str(earlier.id))
    image, reason = _obtain(client, base.pinned_ref, policy, step)
    if image:
        return image
    wanted = mirror_reference(base.pinned_ref, policy.mirror)
    if made is None:
        message = f"base image {wanted} cannot be had: {reason}"
        hint = "log in to its registry (docker login), name a mirror of it (--registry-mirror HOST)"
        raise DownloadFailed(message, hint=f"{hint}, or another base (--image base,REF)")
    trouble = f"{without_digest(wanted)} cannot be pulled ({reason})"
    step.milestone(trouble)
    with alone("base", step.children.check) as somebody_did:
        earlier = find_image(client, made) if somebody_did else None
        image_id = str(earlier.id) if earlier else make_base(client, base, made, step, trouble=trouble)
    return _made(base, made, image_id)


def _made(base: Base, name: str, image_id: str) -> FoundImage:
    return FoundImage(reference=name, image_id=image_id, origin=f"mmdebstrap {base.suite}")
