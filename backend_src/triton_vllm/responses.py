"""From our answers to Triton's response objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from triton_vllm.embeddings import embedding_text
from triton_vllm.engines.interface import Embedding
from triton_vllm.errors import BackendError
from triton_vllm.merging import Part, logprobs_json
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
            texts = [logprobs_json(logprobs) for logprobs in part.logprobs]
            tensors.append(self._tensor("logprobs", _strings(texts)))
        if wanted.num_input_tokens:
            count = np.array([part.num_input_tokens], dtype=np.uint32)
            tensors.append(self._tensor("num_input_tokens", count))
        if wanted.num_output_tokens:
            counts = np.array(part.num_tokens, dtype=np.uint32)
            tensors.append(self._tensor("num_output_tokens", counts))
        return self._response(output_tensors=tensors)

    def from_embedding(self, embedding: Embedding, wanted: Wanted) -> Any:
        """Build the response to an embedding request, of which only the counts can be wanted."""
        tensors = [self._tensor("text_output", _strings([embedding_text(embedding)]))]
        if wanted.num_input_tokens:
            count = np.array([embedding.num_tokens], dtype=np.uint32)
            tensors.append(self._tensor("num_input_tokens", count))
        if wanted.num_output_tokens:
            tensors.append(self._tensor("num_output_tokens", np.array([0], dtype=np.uint32)))
        return self._response(output_tensors=tensors)

    def from_text(self, text: str) -> Any:
        """Build a response that has a text and nothing else."""
        return self._response(output_tensors=[self._tensor("text_output", _strings([text]))])

    def from_error(self, error: BackendError) -> Any:
        """Build an error response; its text output is "N/A"."""
        code = getattr(self._error, error.code, None)
        message = str(error)
        triton_error = self._error(message) if code is None else self._error(message, code)
        tensor = self._tensor("text_output", _strings([NO_TEXT]))
        return self._response(output_tensors=[tensor], error=triton_error)


def _strings(texts: Sequence[str]) -> Any:
    # A lone surrogate in a text that was cut inside a character has no UTF-8 form.
    encoded: list[bytes] = [text.encode("utf-8", "replace") for text in texts]
    return np.array(encoded, dtype=np.object_)
