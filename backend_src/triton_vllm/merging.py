"""What a client has not been sent yet of a request's sequences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm.engines.interface import Output
from triton_vllm.messages import Part

UNFINISHED = "None"


class Sequences:
    """Collects outputs of one request until they are taken for a response.

    With deltas as outputs, `take` gives what came since the last call, with one entry per
    sequence (n of them) whichever of them the outputs were about.
    """

    def __init__(self, count: int, keep_logprobs: bool = False, keep_token_ids: bool = False) -> None:
        self._count = count
        self._keep_logprobs = keep_logprobs
        self._texts: list[list[str]] = [[] for _ in range(count)]
        self._num_tokens = [0] * count
        self._logprobs: list[list[Any] | None] = [None] * count
        self._token_ids: list[list[int]] | None = [[] for _ in range(count)] if keep_token_ids else None
        # These say how things stand, so they outlive a response.
        self._cumulative: list[float | None] = [None] * count
        self._reasons = [UNFINISHED] * count
        self._num_input_tokens = 0
        self.finished = False

    def add(self, output: Output) -> None:
        """Merge one output of the engine."""
        if not self._num_input_tokens and output.prompt_token_ids is not None:
            self._num_input_tokens = len(output.prompt_token_ids)
        for completion in output.outputs:
            index = completion.index
            if completion.text:
                self._texts[index].append(completion.text)
            self._num_tokens[index] += len(completion.token_ids)
            if self._token_ids is not None:
                self._token_ids[index].extend(completion.token_ids)
            if completion.cumulative_logprob is not None:
                self._cumulative[index] = completion.cumulative_logprob
            if self._keep_logprobs and completion.logprobs is not None:
                kept = self._logprobs[index]
                self._logprobs[index] = [*(kept or ()), *completion.logprobs]
            if completion.finish_reason is not None:
                self._reasons[index] = completion.finish_reason
        if output.finished:
            self.finished = True

    def take(self) -> Part:
        """Return what was added since the last call."""
        part = Part(
            texts=["".join(pieces) for pieces in self._texts],
            num_tokens=self._num_tokens,
            logprobs=[logprobs_json(logprobs) for logprobs in self._logprobs],
            cumulative=list(self._cumulative),
            reasons=list(self._reasons),
            num_input_tokens=self._num_input_tokens,
            final=self.finished,
            token_ids=self._token_ids,
        )
        if self._token_ids is not None:
            self._token_ids = [[] for _ in range(self._count)]
        self._texts = [[] for _ in range(self._count)]
        self._num_tokens = [0] * self._count
        self._logprobs = [None] * self._count
        return part


def logprobs_json(logprobs: Sequence[Mapping[int, Any]] | None) -> str:
    """Return [{token id: {"logprob", "rank", "decoded_token"}}, ...] as JSON, or "null"."""
    if logprobs is None:
        return "null"
    positions: list[dict[str, dict[str, Any]]] = [
        {
            str(token_id): {
                # Before 0.4 a number alone.
                "logprob": _finite(getattr(entry, "logprob", entry)),
                "rank": getattr(entry, "rank", None),
                "decoded_token": getattr(entry, "decoded_token", None),
            }
            for token_id, entry in position.items()
        }
        for position in logprobs
    ]
    return json.dumps(positions)


def _finite(number: float) -> float | None:
    # JSON has no infinity; a token that cannot be chosen has a log-probability of minus infinity.
    return number if number == number and abs(number) != float("inf") else None
