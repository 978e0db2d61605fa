"""Stand-ins for Triton's Python API and for an engine."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from triton_vllm import messages
from triton_vllm.chat import ChatTemplate
from triton_vllm.engines.interface import Embedding, EmbedJob, GenerateJob, Output
from triton_vllm.fields import Field
from triton_vllm.link import AsyncLink, Link, make_pair
from triton_vllm.metrics.recorder import Recorder
from triton_vllm.sampling import Sampling
from triton_vllm.worker.main import serve

FINAL = 1


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self._array


class TritonError:
    INTERNAL, INVALID_ARG, UNAVAILABLE, CANCELLED = (
        "INTERNAL",
        "INVALID_ARG",
        "UNAVAILABLE",
        "CANCELLED",
    )

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self.text, self.code = message, code


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error

    @property
    def texts(self) -> list[str]:
        return [value.decode() for value in self.outputs["text_output"]]


class Sender:
    """A response sender that keeps what it sends, and takes `delay` seconds for each."""

    def __init__(self, delay: float = 0.0) -> None:
        self.responses: list[InferenceResponse] = []
        self.flags: list[int] = []
        self.cancelled = False
        self.delay = delay
        self.finished = threading.Event()

    def send(self, response: InferenceResponse, flags: int = 0) -> None:
        if self.finished.is_set():
            msg = "sent after the final response"
            raise AssertionError(msg)
        time.sleep(self.delay)
        self.responses.append(response)
        self.flags.append(flags)
        if flags & FINAL:
            self.finished.set()

    def is_cancelled(self) -> bool:
        return self.cancelled

    def wait(self) -> list[InferenceResponse]:
        assert self.finished.wait(5), "no final response came"
        return self.responses


class Request:
    def __init__(
        self, parameters: Mapping[str, Any] | None = None, *, delay: float = 0.0, **inputs: Any
    ) -> None:
        self.inputs = {name: Tensor(name, _array(value)) for name, value in inputs.items()}
        self._parameters = dict(parameters or {})
        self.sender = Sender(delay)

    def parameters(self) -> str:
        return json.dumps(self._parameters) if self._parameters else ""

    def get_response_sender(self) -> Sender:
        return self.sender


def _array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value
    values = value if isinstance(value, list) else [value]
    if values and isinstance(values[0], bool):
        return np.array(values, dtype=bool)
    encoded = [item.encode() if isinstance(item, str) else item for item in values]
    return np.array(encoded, dtype=np.object_)


class Metric:
    def __init__(self, family: OldMetricFamily, labels: Mapping[str, str], buckets: Sequence[float]) -> None:
        self.family, self.labels, self.buckets = family, dict(labels), list(buckets)
        self.value = 0.0
        self.observed: list[float] = []

    def increment(self, amount: float) -> None:
        assert self.family.kind == "COUNTER"
        self.value += amount

    def set(self, value: float) -> None:
        assert self.family.kind == "GAUGE"
        self.value = value

    def observe(self, value: float) -> None:
        assert self.family.kind == "HISTOGRAM"
        self.observed.append(value)


class OldMetricFamily:
    """Of a Triton before 2.49."""

    COUNTER, GAUGE = "COUNTER", "GAUGE"
    registered: dict[str, OldMetricFamily]

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.name, self.description, self.kind = name, description, kind
        self.metrics: list[Metric] = []
        type(self).registered[name] = self

    def Metric(self, labels: Mapping[str, str]) -> Metric:  # noqa: N802
        self.metrics.append(Metric(self, labels, ()))
        return self.metrics[-1]


class MetricFamily(OldMetricFamily):
    HISTOGRAM = "HISTOGRAM"

    def Metric(self, labels: Mapping[str, str], buckets: Sequence[float] = ()) -> Metric:  # noqa: N802
        self.metrics.append(Metric(self, labels, buckets))
        return self.metrics[-1]


class Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def _add(self, message: str) -> None:
        self.lines.append(message)

    log_info = log_warn = log_error = log_verbose = _add


def make_pb_utils(family: type[OldMetricFamily] = MetricFamily) -> Any:
    """Return a fresh fake of `triton_python_backend_utils`."""
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.TritonError, module.InferenceResponse = (
        Tensor,
        TritonError,
        InferenceResponse,
    )
    module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = FINAL
    module.TritonModelException = type("TritonModelException", (Exception,), {})
    module.MetricFamily = type("MetricFamily", (family,), {"registered": {}})
    module.Logger = Logger()
    module.unloaded = []
    module.unload_model = module.unloaded.append
    module.get_input_tensor_by_name = lambda request, name: request.inputs.get(name)
    return module


@dataclass
class FakeCompletion:
    index: int = 0
    text: str = ""
    token_ids: Sequence[int] = ()
    cumulative_logprob: float | None = None
    logprobs: Sequence[Mapping[int, Any]] | None = None
    finish_reason: str | None = None


@dataclass
class FakeOutput:
    outputs: Sequence[FakeCompletion]
    finished: bool = False
    prompt_token_ids: Sequence[int] | None = (1, 2, 3)


@dataclass
class FakeLogprob:
    logprob: float
    rank: int = 1
    decoded_token: str = "x"


class EngineDeadError(Exception):
    """Named as vLLM's."""


def delta(
    text: str, reason: str | None = None, *, index: int = 0, finished: bool | None = None
) -> FakeOutput:
    """Return an output with one new token."""
    completion = FakeCompletion(index, text, (7,), finish_reason=reason)
    return FakeOutput([completion], finished=reason is not None if finished is None else finished)


@dataclass
class FakeParams:
    n: int
    stream: bool
    logprobs: bool
    values: Mapping[str, Any]


Script = Callable[[GenerateJob], AsyncIterator[Output]]


@dataclass
class FakeEngine:
    """An engine whose requests run `script`, by default three tokens."""

    fields: Mapping[str, Field] = field(
        default_factory=lambda: {
            name: Field(name, frozenset(kinds), optional)
            for name, kinds, optional in (
                ("n", {"int"}, False),
                ("temperature", {"float"}, False),
                ("max_tokens", {"int"}, True),
                ("logprobs", {"int"}, True),
                ("seed", {"int"}, True),
                ("stop", {"str", "list[str]"}, True),
                ("ignore_eos", {"bool"}, False),
                ("logit_bias", {"dict[int, float]"}, True),
                ("structured_outputs", set(), True),
            )
        }
    )
    script: Script | None = None
    merges: bool = False
    failed: bool = False
    max_model_len: int = 100
    description: str = "fake"
    jobs: list[GenerateJob] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    stopped: bool = False
    health: Exception | None = None

    def make_params(self, sampling: Sampling, stream: bool, logprobs: bool) -> FakeParams:
        return FakeParams(int(sampling.values.get("n", 1)), stream, logprobs, sampling.values)

    def make_prompt(self, text: str | Sequence[int], images: Sequence[Any]) -> Any:
        return {"prompt": text, "images": list(images)} if images else text

    async def generate(self, job: GenerateJob) -> AsyncIterator[Output]:
        self.jobs.append(job)
        if self.script is not None:
            async for output in self.script(job):
                yield output
        elif job.params.stream:
            yield delta(" a")
            yield delta(" b")
            yield delta(" c", "length")
        else:
            yield FakeOutput([FakeCompletion(0, " a b c", (7, 7, 7), finish_reason="length")], finished=True)

    async def embed(self, job: EmbedJob) -> Embedding:
        await asyncio.sleep(0)
        return Embedding([0.5, -1.0], 3)

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    async def check_health(self) -> None:
        if self.health is not None:
            raise self.health

    def shutdown(self) -> None:
        self.stopped = True


class FakeTokenizer:
    """With a template that names the roles."""

    chat_template = "there is one"
    bos_token = None

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        return "".join(f"<{message['role']}>{message['content']}" for message in messages)


class FakeWorker:
    """What `triton_vllm.worker` does, on a fake engine and in a thread."""

    num_lanes = 2

    def __init__(self, engine: FakeEngine, recorder: Recorder | None) -> None:
        ours, self._theirs = make_pair()
        self.engine = engine
        self.link = Link(ours)
        self.loop = asyncio.new_event_loop()
        self._recorder = recorder
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=(self._run(),))
        self._thread.start()

    def stop(self) -> None:
        self.link.close()
        self._thread.join()
        self.loop.close()

    def die(self) -> None:
        """End as a killed process does."""
        self._theirs.shutdown(socket.SHUT_RDWR)

    async def _run(self) -> None:
        start = messages.Start({}, None, False, True, self.num_lanes)
        link = await AsyncLink.open(self._theirs)
        await serve(link, self.engine, start, self._recorder, ChatTemplate(FakeTokenizer(), always=False))
        await link.close()
