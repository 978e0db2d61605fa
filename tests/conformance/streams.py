"""Talks to models over gRPC streams, as decoupled models are talked to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

PATIENCE = 120


@dataclass
class Answer:
    """The responses to one request, in order, and the error that ended it."""

    responses: list[Any] = field(default_factory=list)
    error: InferenceServerException | None = None

    def tensors(self, name: str) -> list[list[Any]]:
        """Return a tensor of every response that has it, as lists; texts are decoded."""
        found = (response.as_numpy(name) for response in self.responses)
        return [_plain(tensor) for tensor in found if tensor is not None]

    def texts(self, index: int = 0) -> list[str]:
        """Return the text of one sequence in every response."""
        assert self.error is None, self.error
        return [texts[index] for texts in self.tensors("text_output")]

    def text(self, index: int = 0) -> str:
        return "".join(self.texts(index))

    def last(self, name: str) -> list[Any]:
        assert self.error is None, self.error
        return self.tensors(name)[-1]

    def message(self) -> str:
        """Return the text of the error that the request was answered with."""
        assert self.error is not None, f"no error, but {[r.get_response() for r in self.responses]}"
        text: str = self.error.message()
        return text


def _plain(tensor: Any) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in tensor.reshape(-1).tolist()]


def _tensor(name: str, value: Any) -> grpcclient.InferInput:
    elements = value if isinstance(value, (list, tuple)) else [value]
    if elements and isinstance(elements[0], bool):
        array = np.array(elements, dtype=np.bool_)
    elif elements and isinstance(elements[0], int):
        array = np.array(elements, dtype=np.int64)
    else:
        encoded = [item.encode() if isinstance(item, str) else item for item in elements]
        array = np.array(encoded, dtype=np.object_)
    tensor = grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


@dataclass(frozen=True)
class Event:
    """A response, or an error, which does not say whose it is."""

    response: Any
    error: InferenceServerException | None

    @property
    def request_id(self) -> str:
        request_id: str = self.response.get_response().id
        return request_id

    @property
    def final(self) -> bool:
        """Whether nothing more comes of the request."""
        if self.error is not None:
            return True
        return bool(self.response.get_response().parameters["triton_final_response"].bool_param)


class Stream:
    """One open gRPC stream, which carries any number of requests."""

    def __init__(self, address: str) -> None:
        self._client = grpcclient.InferenceServerClient(address)
        self._events: Queue[tuple[Any, InferenceServerException | None]] = Queue()
        self._numbers = itertools.count(1)
        self._client.start_stream(callback=lambda result, error: self._events.put((result, error)))

    def send(
        self,
        model: str,
        inputs: Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
        timeout: int | None = None,
    ) -> str:
        """Send a request, with Triton's timeout in microseconds, and return its id."""
        request_id = str(next(self._numbers))
        self._client.async_stream_infer(
            model_name=model,
            inputs=[_tensor(name, value) for name, value in inputs.items()],
            request_id=request_id,
            enable_empty_final_response=True,
            parameters=dict(parameters or {}),
            timeout=timeout,
        )
        return request_id

    def next(self) -> Event:
        """Wait for what comes next, of whichever request."""
        return Event(*self._events.get(timeout=PATIENCE))

    def close(self, *, cancel: bool = False) -> None:
        self._client.stop_stream(cancel_requests=cancel)
        self._client.close()


@contextmanager
def stream_to(address: str) -> Iterator[Stream]:
    """Open a stream, and wait for what is left on it in the end, or cancel it after a failure."""
    stream = Stream(address)
    try:
        yield stream
    except BaseException:
        stream.close(cancel=True)
        raise
    stream.close()


def infer(
    address: str, model: str, inputs: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
) -> Answer:
    """Send one request on a stream of its own and return all of its responses."""
    (answer,) = infer_all(address, model, [inputs], parameters)
    return answer


def infer_all(
    address: str,
    model: str,
    requests: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any] | None = None,
    timeout: int | None = None,
) -> list[Answer]:
    """Send all requests on one stream at once and return their answers, in the order of the requests."""
    answers: dict[str, Answer] = {}
    with stream_to(address) as stream:
        for inputs in requests:
            answers[stream.send(model, inputs, parameters, timeout)] = Answer()
        left = set(answers)
        while left:
            event = stream.next()
            if event.error is not None:
                assert len(answers) == 1, event.error
                next(iter(answers.values())).error = event.error
                break
            if event.response.get_response().outputs:
                answers[event.request_id].responses.append(event.response)
            if event.final:
                left.remove(event.request_id)
    return list(answers.values())
