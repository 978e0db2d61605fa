"""The server that all conformance tests share, and ways to ask it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.conformance import streams
from tests.image.places import GRPC
from tests.image.serving import PublishedClient, Server
from tritonbuild.spec import BuildSpec


@dataclass(frozen=True)
class Fleet(Server):
    """The server with all models; reached over HTTP as a `Server` is, and over gRPC."""

    spec: BuildSpec

    @property
    def address(self) -> str:
        """Where gRPC is listened for."""
        assert isinstance(self.client, PublishedClient)
        return self.client.url("", port=GRPC).removeprefix("http://")

    def of(self, model: str) -> Fleet:
        """Return the same server with another model to ask."""
        return replace(self, model=model)

    def infer(self, text: str, sampling: dict[str, Any] | None = None, **inputs: Any) -> streams.Answer:
        """Ask over gRPC; ``sampling`` goes into the parameters of the request, ``inputs`` are tensors."""
        return streams.infer(self.address, self.model, {"text_input": text, **inputs}, sampling)

    def infer_all(self, requests: Iterable[dict[str, Any]]) -> list[streams.Answer]:
        """Ask all at once over one gRPC stream."""
        return streams.infer_all(self.address, self.model, list(requests))

    def embed(self, body: object) -> list[float]:
        """Return the vector that the embedding model answers with, over HTTP."""
        inputs = {"embedding_request": json.dumps(body)}
        reply = self.post("/v2/models/embedding/generate", inputs)
        assert reply.status == 200, reply.text
        vector: list[float] = json.loads(reply.json()["text_output"])
        return vector
