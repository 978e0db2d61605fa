"""One request over HTTP or gRPC, from its start to its end or to the moment its client hangs up."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.apis import APIS, ServerError, request_body, request_head
from benchmarks.load import Endpoint, Load
from benchmarks.models import count_words
from benchmarks.wire import Connection, connect

HTTP, GRPC, METRICS = 8000, 8001, 8002
# How a request ended; a silent one got neither an end nor an error.
COMPLETE, DROPPED, ERROR, REFUSED, SILENT = "complete", "dropped", "error", "refused", "silent"


def tell(event: str, **values: Any) -> None:
    """Print an event."""
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


@dataclass
class Talk:
    """A request and what came of it; times are of the clock that all processes share."""

    api: str  # "http" and "grpc" stream, "generate" does not
    model: str
    prompt: str
    max_tokens: int
    patience: float
    drop_after: int | None = None  # tokens
    state: str = SILENT
    tokens: int = 0
    message: str = ""
    ended: float = 0.0
    dropping: bool = False
    asked: float = 0.0
    first_after: float = 0.0
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def as_record(self) -> dict[str, Any]:
        names = ("api", "state", "tokens", "max_tokens", "message", "asked", "ended", "first_after")
        return {name: getattr(self, name) for name in names}

    async def hold(self, connected: Callable[[], Any]) -> None:
        """Connect, wait for the others, ask, and hold on to the end. Never raises."""
        ask = self._over_grpc if self.api == "grpc" else self._over_http
        try:
            await asyncio.wait_for(ask(connected), self.patience)
        except asyncio.TimeoutError:
            self.message = f"no end within {self.patience} s"
        except Exception as error:
            self._fail(error)
        self.ended = time.monotonic()
        self.first.set()

    def _fail(self, error: Exception) -> None:
        if self.dropping:
            self.state = DROPPED
            return
        self.state = ERROR
        details = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        self.message = f"{type(error).__name__}: {details}"[:300]

    def took(self, tokens: int) -> bool:
        """Note tokens; return whether it is time to hang up."""
        if not self.tokens:
            self.first_after = time.monotonic() - self.asked
        self.tokens += tokens
        self.first.set()
        enough = self.drop_after is not None and self.tokens >= self.drop_after
        self.dropping = enough and self.tokens < self.max_tokens
        return self.dropping

    def _finish(self) -> None:
        self.state = COMPLETE if self.tokens else SILENT

    async def _over_http(self, connected: Callable[[], Any]) -> None:
        endpoint = Endpoint("triton", HTTP, self.model)
        load = Load(concurrency=1, seconds=0, stream=self.api == "http", max_tokens=self.max_tokens)
        connection = await connect(endpoint.port)
        try:
            await connected()
            self.asked = time.monotonic()
            reader = EventReader(self, connection, load.stream)
            body = request_body(endpoint, load, self.prompt)
            await connection.ask(request_head(endpoint, load.stream), body, reader.feed)
            reader.end()
            self._finish()
        finally:
            connection.close()

    async def _over_grpc(self, connected: Callable[[], Any]) -> None:
        # Without an own pool all channels of a process share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{GRPC}", options=options)
        try:
            await channel.channel_ready()
            await connected()
            self.asked = time.monotonic()
            call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
            await call.write(grpc_request(self.model, self.prompt, self.max_tokens))
            await call.done_writing()
            async for answer in call:
                if answer.error_message:
                    raise ServerError(answer.error_message)
                if self.took(grpc_tokens(answer)):
                    self.state = DROPPED
                    return
            self._finish()
        finally:
            await channel.close(grace=None)


class EventReader:
    """Counts the tokens of a body as it comes, and hangs up when it is time."""

    def __init__(self, talk: Talk, connection: Connection, stream: bool) -> None:
        self._talk, self._connection = talk, connection
        self._read = APIS["triton"].read
        self._stream = stream
        self._rest = b""
        self._error: Exception | None = None

    def feed(self, piece: bytes) -> None:
        self._rest += piece
        if self._stream and self._error is None:
            *events, self._rest = self._rest.split(b"\n\n")
            try:
                for event in events:
                    self._count(json.loads(event.strip()[5:]))
            except ServerError as error:
                # Raised where the request is waited for: this runs in the transport's callback.
                self._error = error

    def end(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._stream:
            self._count(json.loads(self._rest))

    def _count(self, message: dict[str, Any]) -> None:
        if self._talk.took(self._read(message, "words")):
            self._connection.close()


def grpc_request(model: str, prompt: str, max_tokens: int) -> Any:
    """Return a request for a stream of that many tokens."""
    request = service_pb2.ModelInferRequest(model_name=model)
    sampling = {"max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
    for name, value in (("text_input", prompt), ("sampling_parameters", json.dumps(sampling))):
        tensor = request.inputs.add(name=name, datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(value.encode())
    tensor = request.inputs.add(name="stream", datatype="BOOL", shape=[1])
    tensor.contents.bool_contents.append(True)
    return request


def grpc_texts(answer: Any) -> list[bytes]:
    """Return the strings of a response's text output."""
    response = answer.infer_response
    for place, output in enumerate(response.outputs):
        if output.name == "text_output":
            return list(output.contents.bytes_contents) or split_strings(response.raw_output_contents[place])
    return []


def split_strings(raw: bytes) -> list[bytes]:
    """Take a BYTES tensor apart: each element follows its length."""
    found = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        found.append(raw[4:end])
        raw = raw[end:]
    return found


def grpc_tokens(answer: Any) -> int:
    return sum(count_words(text.decode()) for text in grpc_texts(answer))
