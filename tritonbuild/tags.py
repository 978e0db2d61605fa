"""Names under which an image is found."""

from __future__ import annotations

from tritonbuild.spec import BuildSpec


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
