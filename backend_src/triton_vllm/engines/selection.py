"""Chooses the adapter for the vLLM that is installed."""

from __future__ import annotations

import importlib.util

from triton_vllm.engines.interface import Engine, EngineArgs, StatsSink


def start_engine(arguments: EngineArgs, stats: StatsSink | None) -> Engine:
    """Start the engine that this vLLM would choose. Must run on the loop that will use it."""
    if uses_v1():
        from triton_vllm.engines import v1

        return v1.start(arguments, stats)
    from triton_vllm.engines import v0

    return v0.start(arguments, stats)


def uses_v1() -> bool:
    """Return whether this vLLM runs its V1 engine."""
    import vllm.engine.async_llm_engine as legacy

    # V1 is all there is: the old name is an alias.
    if legacy.AsyncLLMEngine.__module__.startswith("vllm.v1."):
        return True
    try:
        if importlib.util.find_spec("vllm.v1.engine.async_llm") is None:
            return False
    except ModuleNotFoundError:
        return False
    # Both exist: V1 was an option first and became the default; the user's variable decides.
    from vllm import envs

    return bool(envs.VLLM_USE_V1)
