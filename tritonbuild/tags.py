"""Names under which an image is found."""

from __future__ import annotations

import re

from tritonbuild.spec import BuildSpec

_SHORT = 12


def image_tag(spec: BuildSpec) -> str:
    """Return the release tag, as NGC spells it: ``24.08-vllm-python-py3`` plus what differs.

    An unverified image never gets it, its tag holds the version of vLLM; nor does one whose server was
    compiled by other flags than upstream's images.
    """
    vllm = f"vllm{spec.vllm.replace('+', '_')}" if spec.unverified else "vllm"
    tag = f"{spec.row.release}-{vllm}-python-py3"
    if not spec.is_cuda:
        tag += "-cpu"
    if not spec.is_default_source:
        tag += f"-{spec.row.source}"
    if not spec.is_committed:
        tag += "-compiled"
    return tag


def image_reference(spec: BuildSpec) -> str:
    """Return repository and tag, such as ``tritonserver:24.08-vllm-python-py3-cpu``."""
    return f"{spec.image}:{image_tag(spec)}"


def immutable_tag(spec: BuildSpec, revision: str) -> str:
    """Return the tag that is never moved: every pin, and the commit that built the image."""
    commit, dirty, _ = revision.partition("-dirty")
    pins = f"{spec.row}-triton{spec.triton}-vllm{spec.vllm}-g{commit[:_SHORT]}{dirty}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", pins)  # a local version has a plus, which a tag may not have


def candidate_tag(spec: BuildSpec, image_id: str) -> str:
    """Return the tag of an image that is still to be proven; ``image_id`` is ``sha256:...``."""
    return f"rc-{spec.row}-{image_id.removeprefix('sha256:')[:_SHORT]}"


def latest_tag(spec: BuildSpec) -> str | None:
    """Return the moving tag of the newest release, which only rows of the default source can get."""
    if not spec.is_default_source:
        return None
    return "latest" if spec.is_cuda else "latest-cpu"
