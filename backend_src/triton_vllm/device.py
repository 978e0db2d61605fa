"""Which GPUs an instance may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_vllm.errors import ModelError


def visible_devices(kind: str, device_id: int, engine_args: Mapping[str, Any]) -> str | None:
    """Return the CUDA_VISIBLE_DEVICES of a KIND_GPU instance, None for the other kinds.

    Raises ModelError when the model needs more GPUs than such an instance has.
    """
    if kind != "GPU":
        return None
    for key in ("tensor_parallel_size", "pipeline_parallel_size"):
        size = engine_args.get(key) or 1
        if size > 1:
            msg = (
                f"KIND_GPU gives an instance one GPU and model.json sets {key} {size}: "
                "please specify KIND_MODEL"
            )
            raise ModelError(msg)
    return str(device_id)
