"""What the rest of the backend may ask of an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from triton_vllm.fields import Field
from triton_vllm.sampling import Sampling


class Completion(Protocol):
    """One of a request's n sequences: what is new of it, or all of it in a final output.

    vLLM's own CompletionOutput fits.
    """

    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: Sequence[Mapping[int, Any]] | None
    finish_reason: str | None


class Output(Protocol):
    """What an engine says about a request at one moment. vLLM's own RequestOutput fits."""

    outputs: Sequence[Completion]
    finished: bool
    prompt_token_ids: Sequence[int] | None


@dataclass(frozen=True)
class Lora:
    """An adapter to apply: its name, its number (1 and up) and its folder or hub name."""

    name: str
    number: int
    path: str


@dataclass(frozen=True)
class GenerateJob:
    """A request in the engine's own words. `params` is made by `make_params`."""

    request_id: str
    prompt: Any
    params: Any
    lora: Lora | None = None
    trace_headers: Mapping[str, str] | None = None
    priority: int = 0


@dataclass(frozen=True)
class EmbedJob:
    """A request for a vector: a text or token ids."""

    request_id: str
    prompt: Any
    dimensions: int | None = None
    lora: Lora | None = None
    trace_headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Embedding:
    """A vector and the number of tokens it was made from."""

    vector: list[float]
    num_tokens: int


class StatsSink(Protocol):
    """Where an engine's adapter notes numbers. The names are those of `metrics.catalog`."""

    def count(self, name: str, amount: float = 1, reason: str = "") -> None: ...

    def level(self, name: str, value: float) -> None: ...

    def observe(self, name: str, values: Any) -> None: ...


class Engine(Protocol):
    """A running engine. Coroutines run on the loop that started it."""

    description: str
    fields: Mapping[str, Field]
    # Whether outputs that nobody took yet are merged by the engine's front end.
    merges: bool

    @property
    def failed(self) -> bool:
        """Whether the engine is dead for good."""
        ...

    @property
    def max_model_len(self) -> int: ...

    def make_params(self, sampling: Sampling, stream: bool, logprobs: bool) -> Any:
        """Build the engine's sampling parameters. Raises RequestError for a value out of range.

        With `stream` outputs carry what is new, else one final output carries all. With
        `logprobs` the sampled token's probability is always computed.
        """
        ...

    def make_prompt(self, prompt: str | Sequence[int], images: Sequence[Any]) -> Any:
        """Build what to continue from a text or from token ids, and images."""
        ...

    def generate(self, job: GenerateJob) -> AsyncIterator[Output]: ...

    async def embed(self, job: EmbedJob) -> Embedding: ...

    async def get_tokenizer(self) -> Any:
        """Return the model's tokenizer, as transformers makes them."""
        ...

    async def get_tasks(self) -> frozenset[str] | None:
        """Return what the model can do ("generate", "embed", ...), or None if the engine does not tell."""
        ...

    async def abort(self, request_id: str) -> None: ...

    async def check_health(self) -> None:
        """Return when the engine is healthy, raise otherwise."""
        ...

    def shutdown(self) -> None:
        """Stop the engine and its processes."""
        ...
