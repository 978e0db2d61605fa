"""For engines that do not tell what is new, or not their statistics: both from all output so far."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from triton_vllm.engines.deltas import Deltas
from triton_vllm.engines.interface import Completion, Output, StatsSink
from triton_vllm.engines.request_clock import RequestClock


@dataclass(frozen=True)
class CumulativeParams:
    """The engine's parameters, which ask for all output so far, and what the client asked for."""

    params: Any
    stream: bool
    # Whether the engine chooses the answer among more sequences: what it is is known at the end.
    ranked: bool = False

    @property
    def n(self) -> int:
        """How many sequences there will be, as vLLM's own parameters tell it."""
        # With best_of, some versions keep the number of those to return apart.
        return int(getattr(self.params, "_real_n", None) or self.params.n)

    @property
    def best_of(self) -> int:
        """How many sequences the engine makes to choose n of."""
        return int(getattr(self.params, "best_of", None) or self.params.n)


async def follow(
    outputs: AsyncIterator[Output], params: CumulativeParams, stats: StatsSink | None
) -> AsyncIterator[Output]:
    """Turn a request's outputs into what the client asked for, and note its numbers into `stats`."""
    clock = RequestClock(stats, params.n, params.best_of, time.time) if stats else None
    deltas = Deltas()
    last: Output | None = None
    async for output in outputs:
        delta = deltas.next(output)
        if clock is not None:
            clock.note(delta)
        if params.stream and not params.ranked:
            yield delta
        else:
            last = output
    if last is not None:
        if params.ranked:
            last.outputs = _choose(last.outputs, params.n)
        yield last


def _choose(completions: Sequence[Completion], n: int) -> Sequence[Completion]:
    """Return the n best and number them by that; 0.6 and later return all that were made."""
    if len(completions) > n:
        completions = sorted(completions, key=lambda made: made.cumulative_logprob or 0.0, reverse=True)[:n]
    for rank, completion in enumerate(completions):
        completion.index = rank
    return completions
