"""Chooses the adapter for the vLLM that is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from triton_vllm.engines.interface import Engine, StatsSink


def start_engine(arguments: Mapping[str, Any], stats: StatsSink | None) -> Engine:
    """Start the engine that this vLLM would choose. Must run on the loop that will use it."""
    if uses_v1(arguments):
        from triton_vllm.engines import v1

        return v1.start(arguments, stats)
    from triton_vllm.engines import v0

    return v0.start(arguments, stats)


def leave_a_slot(arguments: Mapping[str, Any], num_loras: int) -> dict[str, Any]:
    """Return arguments with room for one adapter more than there are, where vLLM runs on a CPU.

    There (seen with 0.30) a request without an adapter gets the one in the last slot when it shares
    a batch with requests that have one. No adapter ever is in a slot too many.
    """
    try:
        from vllm.platforms import current_platform
    except ImportError:
        return dict(arguments)
    # The first platforms, up to 0.5.5, were not asked for CPUs yet, or were None.
    if not hasattr(current_platform, "is_cpu") or not current_platform.is_cpu():
        return dict(arguments)
    return {**arguments, "max_loras": max(int(arguments.get("max_loras") or 1), num_loras + 1)}


def uses_v1(arguments: Mapping[str, Any]) -> bool:
    """Return whether this vLLM runs these arguments on its V1 engine."""
    import vllm.engine.async_llm_engine as legacy

    # V1 is all there is: the old name is an alias.
    if legacy.AsyncLLMEngine.__module__.startswith("vllm.v1."):
        return True
    try:
        if importlib.util.find_spec("vllm.v1.engine.async_llm") is None:
            return False
    except ModuleNotFoundError:
        return False
    # Both exist. From 0.8 on, making the configuration decides for what the arguments need,
    # unless the user's variable has decided.
    from vllm import envs
    from vllm.engine.arg_utils import AsyncEngineArgs

    if "VLLM_USE_V1" not in os.environ:
        AsyncEngineArgs(**arguments).create_engine_config()
    return bool(envs.VLLM_USE_V1)
