"""A model that stands in where an image carries none: random weights, written here, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.abilities import counts_others, has
from tests.image.repository import config_text, make_readable, write_model
from tests.tinymodel import CONTEXT, Size, write_tiny_model
from tritonbuild.spec import BuildSpec

ROOT = "/standin"
# As the conformance tests have it, and of a width that every attention and LoRA kernel has; eight heads can be
# shared by up to eight GPUs. In the texts that conformance tests compare no two tokens are nearly as likely with this
# seed: their logits are 0.014 apart or more, and half precision, which rounds otherwise in another batch, has steps of 0.002 there.
WIDE = Size(hidden=512, heads=8, ffn=1024, seed=331)
NARROW = Size()
MAX_NUM_SEQS = 16
# The share of a GPU's memory that an engine may take: enough on 16 GB, and several fit.
GPU_SHARE = 0.1


@dataclass(frozen=True)
class StandIn:
    """A repository with one model, called `vllm_model`."""

    mounts: Mapping[Path, str]
    arguments: Mapping[str, Any]
    command: Sequence[str] = ("tritonserver", f"--model-repository={ROOT}/repository")


def tiny_size(spec: BuildSpec) -> Size:
    """Return the size of model that a row's engine can run."""
    return WIDE if spec.is_cuda else NARROW


def engine_arguments(spec: BuildSpec, model: str, beside: int = 0) -> dict[str, Any]:
    """Return the arguments of an engine that leaves room for others.

    Some vLLMs have to be told how many of such engines run on the GPU already.
    """
    shares = 1 + beside if counts_others(spec) else 1
    memory = (
        {"gpu_memory_utilization": shares * GPU_SHARE}
        if spec.is_cuda
        else {"kv_cache_memory_bytes": 16 << 20}
    )
    # Without it, vLLM captures CUDA graphs, which takes its time.
    eager = {"enforce_eager": True} if has(spec, "enforce_eager") else {}
    return {
        "model": model,
        # The kernels for GPUs are made for half of it.
        "dtype": "float16" if spec.is_cuda else "float32",
        "max_model_len": CONTEXT,
        "max_num_seqs": MAX_NUM_SEQS,
        **eager,
        **memory,
    }


def write_standin(folder: Path, spec: BuildSpec) -> StandIn:
    """Write model and repository below ``folder``."""
    write_tiny_model(folder / "tiny", tiny_size(spec))
    arguments = engine_arguments(spec, f"{ROOT}/tiny")
    write_model(folder / "repository", "vllm_model", arguments, config_text(spec))
    make_readable(folder)
    return StandIn({folder: ROOT}, arguments)
