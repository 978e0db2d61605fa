"""From outputs that hold everything so far to outputs that hold what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_vllm.engines.interface import Completion, Output


@dataclass
class CompletionDelta:
    """What is new of one sequence; fits `interface.Completion`."""

    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: Sequence[Mapping[int, Any]] | None
    finish_reason: str | None


@dataclass
class OutputDelta:
    """What is new of a request; fits `interface.Output`."""

    outputs: Sequence[Completion]
    finished: bool
    prompt_token_ids: Sequence[int] | None


class Deltas:
    """Remembers how much of each of a request's sequences was seen."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}

    def next(self, output: Output) -> OutputDelta:
        """Return what `output` has that the outputs before it had not."""
        completions: list[Completion] = []
        for completion in output.outputs:
            num_chars, num_tokens = self._seen.get(completion.index, (0, 0))
            text, token_ids, logprobs = completion.text, completion.token_ids, completion.logprobs
            completions.append(
                CompletionDelta(
                    index=completion.index,
                    text=text[num_chars:],
                    token_ids=token_ids[num_tokens:],
                    cumulative_logprob=completion.cumulative_logprob,
                    # 0.2.0 has an empty dictionary where nobody asked for them.
                    logprobs=logprobs[num_tokens:] if logprobs else None,
                    finish_reason=completion.finish_reason,
                )
            )
            # A stop string that is cut off makes a text shorter: nothing sent can be taken back.
            self._seen[completion.index] = (max(num_chars, len(text)), len(token_ids))
        return OutputDelta(completions, output.finished, output.prompt_token_ids)
