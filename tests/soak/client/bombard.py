"""`python -m tests.soak.client.bombard PLAN`: malformed requests, and what each was answered with.

Prints `result` with the number of answers of each kind, and the requests that were not refused.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.wire import Connection, HttpError, connect
from tests.soak.client.malformed import GrpcRequest, HttpRequest, Maker, Request, Tensor
from tests.soak.client.talk import GRPC, HTTP, grpc_texts, tell

REFUSED, TAKEN, HUNG, CUT = "refused", "taken", "hung", "cut off"
# Where each type of numbers goes in a request over gRPC.
FIELDS = {
    "BYTES": "bytes_contents",
    "BOOL": "bool_contents",
    "FP32": "fp32_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
}
# A server that leaves its clients alone is not asked ten thousand times.
TROUBLES = 50


class Sender:
    """One worker's connections."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._http: Connection | None = None
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{GRPC}", options=options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def send(self, request: Request) -> tuple[str, str]:
        """Return what kind of answer came, and its text. Never raises."""
        ask = self._ask_http(request) if isinstance(request, HttpRequest) else self._ask_grpc(request)
        try:
            return await asyncio.wait_for(ask, self._patience)
        except asyncio.TimeoutError:
            outcome = HUNG, f"no answer within {self._patience} s"
        except Exception as error:
            outcome = CUT, f"{type(error).__name__}: {error}"
        if self._http is not None:
            self._http.close()
            self._http = None
        return outcome

    async def close(self) -> None:
        if self._http is not None:
            self._http.close()
        await self._channel.close(grace=None)

    async def _ask_http(self, request: HttpRequest) -> tuple[str, str]:
        if self._http is None:
            self._http = await connect(HTTP)
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\nHost: 127.0.0.1:{HTTP}\r\n"
            "Content-Type: application/json\r\n"
        )
        body = bytearray()
        try:
            await self._http.ask(head.encode(), request.body, body.extend)
        except HttpError as error:
            return REFUSED, str(error)
        return judge(bytes(body), request.path.endswith("_stream"))

    async def _ask_grpc(self, request: GrpcRequest) -> tuple[str, str]:
        message = to_message(request)
        try:
            if not request.stream:
                answer = await self._stub.ModelInfer(message)
                return TAKEN, str(answer)[:300]
            call = self._stub.ModelStreamInfer()
            await call.write(message)
            await call.done_writing()
            answers = [answer async for answer in call]
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                return CUT, str(error.details())
            return REFUSED, f"{error.code().name}: {error.details()}"
        errors = [answer.error_message for answer in answers if answer.error_message]
        texts = [text for answer in answers for text in grpc_texts(answer) if not answer.error_message]
        if errors and not texts:
            return REFUSED, errors[0]
        return TAKEN, f"{len(answers)} answers, texts {texts}"


def judge(body: bytes, stream: bool) -> tuple[str, str]:
    """Tell what a body of status 200 says: streams carry their errors as events."""
    text = body.decode(errors="replace")
    if stream:
        events = [line.removeprefix("data:").strip() for line in text.splitlines() if line.strip()]
        if events and all(is_error(event) for event in events):
            return REFUSED, events[0]
    return TAKEN, text


def is_error(event: str) -> bool:
    try:
        value = json.loads(event)
    except ValueError:
        return False
    return isinstance(value, dict) and bool(value.get("error")) and "text_output" not in value


def to_message(request: GrpcRequest) -> Any:
    message = service_pb2.ModelInferRequest(model_name=request.model, model_version=request.version)
    for tensor in request.tensors:
        added = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.raw is not None:
            message.raw_input_contents.append(tensor.raw)
        else:
            fill(added.contents, tensor)
    return message


def fill(contents: Any, tensor: Tensor) -> None:
    field = FIELDS.get(tensor.datatype, "int_contents")
    if field == "bytes_contents":
        contents.bytes_contents.extend(
            value if isinstance(value, bytes) else b"x" for value in tensor.contents
        )
    else:
        getattr(contents, field).extend(1 for _ in tensor.contents)


async def run(plan: dict[str, Any]) -> None:
    maker = Maker(plan["model"], plan["seed"], plan["context"])
    waiting = list(enumerate(maker.make() for _ in range(plan["count"])))
    waiting.reverse()
    kinds: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    slowest = 0.0

    async def work() -> None:
        nonlocal slowest
        sender = Sender(plan["patience"])
        while waiting and len(wrong) < TROUBLES:
            number, request = waiting.pop()
            begun = time.monotonic()
            outcome, text = await sender.send(request)
            slowest = max(slowest, time.monotonic() - begun)
            kinds[f"{request.kind}: {outcome}"] += 1
            if outcome != REFUSED:
                shown = {"outcome": outcome, "answer": text[:300], "request": repr(request)[:600]}
                wrong.append({"number": number, **shown})
        await sender.close()

    await asyncio.gather(*(work() for _ in range(plan["workers"])))
    sent = sum(kinds.values())
    tell("result", sent=sent, kinds=dict(sorted(kinds.items())), wrong=wrong, slowest=slowest)


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
