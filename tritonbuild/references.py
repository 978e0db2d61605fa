"""References to images: their parts, and where a mirror keeps the same image."""

from __future__ import annotations

from docker.auth import resolve_repository_name

_HUB = "docker.io"


def pinned_digest(reference: str) -> str | None:
    """Return the digest (``sha256:...``) that a reference ends with, if it has one."""
    _, separator, digest = reference.partition("@")
    return digest if separator else None


def without_digest(reference: str) -> str:
    return reference.partition("@")[0]


def repository_of(reference: str) -> str:
    """Return the reference without tag and digest."""
    name = without_digest(reference)
    head, separator, tail = name.rpartition(":")
    return head if separator and "/" not in tail else name  # else it is the colon of a port


def split_registry(reference: str) -> tuple[str, str]:
    """Return the registry's host and all that follows, as the engine completes what is left out."""
    registry, path = resolve_repository_name(reference)
    return registry, f"library/{path}" if registry == _HUB and "/" not in path else path


def mirror_reference(reference: str, mirror: str | None) -> str:
    """Return where ``mirror`` (``HOST[:PORT][/PREFIX]``, or None for no mirror) keeps an image.

    ``nvcr.io/nvidia/x:1`` is ``MIRROR/nvidia/x:1``; Docker Hub's ``debian:12`` is ``MIRROR/library/debian:12``.
    """
    return f"{mirror}/{split_registry(reference)[1]}" if mirror else reference
