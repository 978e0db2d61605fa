"""Which GPUs an instance may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm.errors import ModelError

PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size")


def visible_devices(
    kind: str, device_id: int, engine_args: Mapping[str, Any], chosen: Sequence[int] = ()
) -> str | None:
    """Return the CUDA_VISIBLE_DEVICES of an instance, None for all that the server sees.

    `chosen` are the GPUs that config.pbtxt names. Raises ModelError when the model needs another
    number of GPUs than the instance has.
    """
    if kind != "GPU":
        return _check_chosen(chosen, engine_args) if chosen else None
    for key in PARALLEL:
        size = engine_args.get(key) or 1
        if size > 1:
            msg = (
                f"KIND_GPU gives an instance one GPU and model.json sets {key} {size}: "
                "please specify KIND_MODEL"
            )
            raise ModelError(msg)
    if chosen and tuple(chosen) != (device_id,):
        msg = "config.pbtxt: GPU_DEVICE_IDS is for KIND_MODEL; KIND_GPU takes the GPU of its instance group"
        raise ModelError(msg)
    return str(device_id)


def _check_chosen(chosen: Sequence[int], engine_args: Mapping[str, Any]) -> str:
    needed = 1
    for key in PARALLEL:
        needed *= engine_args.get(key) or 1
    if needed != len(chosen):
        msg = (
            f"config.pbtxt: GPU_DEVICE_IDS names {len(chosen)} GPUs, and model.json needs {needed} "
            f"({' x '.join(PARALLEL)})"
        )
        raise ModelError(msg)
    return ",".join(str(number) for number in chosen)
