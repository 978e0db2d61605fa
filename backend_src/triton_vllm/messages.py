"""What Triton's stub and the engine's worker process say to each other.

Only plain Python and classes of this package cross, never a class of vLLM, numpy or Triton: the
stub does not import the engine, and the worker does not know the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from triton_vllm.engines.interface import Lora
from triton_vllm.fields import Field


class Start(NamedTuple):
    """Start the engine; the first message to a worker."""

    engine_args: dict[str, Any]
    loras: dict[str, Lora] | None
    apply_chat_template: bool  # to every text
    report_metrics: bool
    num_lanes: int


class Submit(NamedTuple):
    """Run a request: a GenerateRequest or an EmbedRequest."""

    number: int
    request: Any


class Cancel(NamedTuple):
    """Nobody waits for this request any more."""

    number: int


class Credit(NamedTuple):
    """All results of this lane were handed on: the next ones may come."""

    lane: int


class CheckHealth(NamedTuple):
    """Ask the engine whether it is well."""


class Stop(NamedTuple):
    """End the engine and the worker."""


class Started(NamedTuple):
    """The engine runs: what it takes and what it is."""

    fields: Mapping[str, Field]
    max_model_len: int
    description: str
    tasks: frozenset[str] | None  # "generate", "embed" and others, where the engine tells


class NotStarted(NamedTuple):
    """The engine does not start, and why: in one line, and as a traceback."""

    reason: str
    traceback: str = ""


class Part(NamedTuple):
    """What a client has not been sent yet of a request, a list entry per sequence."""

    texts: list[str]
    num_tokens: list[int]
    logprobs: list[str]  # JSON texts
    cumulative: list[float | None]
    reasons: list[str]
    num_input_tokens: int
    final: bool
    token_ids: list[list[int]] | None = None  # where they were asked for


class Failure(NamedTuple):
    """A request's last result: an error. `code` names a `pb_utils.TritonError` code."""

    code: str
    text: str


class Results(NamedTuple):
    """New results of one lane's requests, at most one for each."""

    lane: int
    results: Sequence[tuple[int, Part | Failure]]


class Notes(NamedTuple):
    """What the engine counted and measured, see `metrics.recorder.Recorder.take`."""

    counts: dict[tuple[str, str], float]
    levels: dict[str, float]
    values: dict[str, list[float]]


class Health(NamedTuple):
    """The answer to CheckHealth: None when all is well."""

    problem: str | None


class EngineFailed(NamedTuple):
    """The engine is dead for good."""
