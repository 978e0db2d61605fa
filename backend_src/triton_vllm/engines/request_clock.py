"""A request's metrics, taken where its outputs come out."""

from __future__ import annotations

from collections.abc import Callable

from triton_vllm.engines.interface import Output, StatsSink


class RequestClock:
    """Notes one request's tokens and times, for engines that do not tell them."""

    def __init__(self, stats: StatsSink, n: int, best_of: int, now: Callable[[], float]) -> None:
        self._stats = stats
        self._n = n
        self._best_of = best_of
        self._now = now
        self._arrival = now()
        self._last: dict[int, float] = {}
        self._num_tokens: dict[int, int] = {}
        self._finished: set[int] = set()
        self._started = False

    def note(self, delta: Output) -> None:
        """Note an output that holds what is new."""
        stats, now = self._stats, self._now()
        num_prompt_tokens = len(delta.prompt_token_ids or ())
        if not self._started:
            self._started = True
            stats.count("prompt_tokens_total", num_prompt_tokens)
            stats.observe("request_params_n", (self._n,))
            stats.observe("request_params_best_of", (self._best_of,))
        for completion in delta.outputs:
            index, count = completion.index, len(completion.token_ids)
            if count:
                self._note_tokens(index, count, now)
            if completion.finish_reason is not None and index not in self._finished:
                self._finished.add(index)
                stats.count("request_success_total", 1, completion.finish_reason)
                stats.observe("e2e_request_latency_seconds", (now - self._arrival,))
                stats.observe("request_prompt_tokens", (num_prompt_tokens,))
                stats.observe("request_generation_tokens", (self._num_tokens.get(index, 0),))

    def _note_tokens(self, index: int, count: int, now: float) -> None:
        self._stats.count("generation_tokens_total", count)
        self._num_tokens[index] = self._num_tokens.get(index, 0) + count
        if index in self._last:
            between, since = count, self._last[index]
        else:
            self._stats.observe("time_to_first_token_seconds", (now - self._arrival,))
            between, since = count - 1, now
        if between:
            # Tokens that came together share the time that they took.
            pause = (now - since) / between
            self._stats.observe("time_per_output_token_seconds", [pause] * between)
        self._last[index] = now
