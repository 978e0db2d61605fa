"""For engines that do not tell what is new, or not their statistics: both from all output so far."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from triton_vllm.engines.deltas import Deltas
from triton_vllm.engines.interface import Output, StatsSink
from triton_vllm.engines.request_clock import RequestClock


@dataclass(frozen=True)
class CumulativeParams:
    """The engine's parameters, which ask for all output so far, and what the client asked for."""

    params: Any
    stream: bool

    @property
    def n(self) -> int:
        """How many sequences there will be, as vLLM's own parameters tell it."""
        return int(self.params.n)


async def follow(
    outputs: AsyncIterator[Output], params: CumulativeParams, stats: StatsSink | None
) -> AsyncIterator[Output]:
    """Turn a request's outputs into what the client asked for, and note its numbers into `stats`."""
    clock = RequestClock(stats, params.n, time.time) if stats else None
    deltas = Deltas()
    last: Output | None = None
    async for output in outputs:
        delta = deltas.next(output)
        if clock is not None:
            clock.note(delta)
        if params.stream:
            yield delta
        else:
            last = output
    if last is not None:
        yield last
