"""Embedding requests and answers in the words of the OpenAI-compatible frontend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from triton_vllm.engines.interface import Embedding, EmbedJob
from triton_vllm.errors import RequestError, shown
from triton_vllm.requests import EmbedRequest


def make_embed_job(request_id: str, request: EmbedRequest) -> EmbedJob:
    """Check the request's body. Raises RequestError."""
    body = request.body
    prompt = body.get("input")
    token_ids = (
        isinstance(prompt, list)
        and bool(prompt)
        and all(isinstance(item, int) and not isinstance(item, bool) for item in prompt)
    )
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if not (isinstance(prompt, str) or token_ids):
        msg = f'embedding_request: "input" must be a text or a list of token ids, got {shown(prompt)}'
        raise RequestError(msg)
    return EmbedJob(
        request_id=request_id,
        prompt={"prompt_token_ids": prompt} if token_ids else prompt,
        dimensions=_dimensions(body),
        trace_headers=request.trace_headers,
    )


def _dimensions(body: Mapping[str, Any]) -> Any:
    pooling = body.get("pooling_params") or {}
    dimensions = pooling.get("dimensions") if isinstance(pooling, dict) else None
    dimensions = body.get("dimensions", dimensions)
    if isinstance(dimensions, list) and len(dimensions) == 1:
        # As the frontend sends it.
        (dimensions,) = dimensions
    if dimensions is not None and (isinstance(dimensions, bool) or not isinstance(dimensions, int)):
        msg = f'embedding_request: "dimensions" must be an integer, got {shown(dimensions)}'
        raise RequestError(msg)
    return dimensions


def embedding_text(embedding: Embedding) -> str:
    """Return the answer's JSON."""
    return json.dumps(embedding.vector)
