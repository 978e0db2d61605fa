"""From our answers to Triton's response objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from triton_vllm.messages import Failure, Part
from triton_vllm.requests import Wanted

NO_TEXT = "N/A"


class Responses:
    """Builds `pb_utils.InferenceResponse` objects."""

    def __init__(self, pb_utils: Any) -> None:
        self._tensor = pb_utils.Tensor
        self._response = pb_utils.InferenceResponse
        self._error = pb_utils.TritonError

    def from_part(self, part: Part, prefix: str, wanted: Wanted) -> Any:
        """Build a response; `prefix` goes before every text, `wanted` names further outputs."""
        texts = [prefix + text for text in part.texts] if prefix else part.texts
        tensors = [self._tensor("text_output", _strings(texts))]
        if wanted.finish_reason:
            tensors.append(self._tensor("finish_reason", _strings(part.reasons)))
        if wanted.cumulative_logprob:
            values = [float("nan") if value is None else value for value in part.cumulative]
            tensors.append(self._tensor("cumulative_logprob", np.array(values, dtype=np.float32)))
        if wanted.logprobs:
            tensors.append(self._tensor("logprobs", _strings(part.logprobs)))
        if wanted.num_input_tokens:
            count = np.array([part.num_input_tokens], dtype=np.uint32)
            tensors.append(self._tensor("num_input_tokens", count))
        if wanted.num_output_tokens:
            counts = np.array(part.num_tokens, dtype=np.uint32)
            tensors.append(self._tensor("num_output_tokens", counts))
        return self._response(output_tensors=tensors)

    def from_failure(self, failure: Failure) -> Any:
        """Build an error response; its text output is "N/A"."""
        code = getattr(self._error, failure.code, None)
        error = self._error(failure.text) if code is None else self._error(failure.text, code)
        tensor = self._tensor("text_output", _strings([NO_TEXT]))
        return self._response(output_tensors=[tensor], error=error)


def _strings(texts: Sequence[str]) -> Any:
    # A lone surrogate in a text that was cut inside a character has no UTF-8 form.
    encoded: list[bytes] = [text.encode("utf-8", "replace") for text in texts]
    return np.array(encoded, dtype=np.object_)
