"""What is asked: the load of one measurement, as data that travels to other processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """A closed loop: each of `concurrency` workers asks again as soon as it was answered."""

    concurrency: int
    seconds: float
    stream: bool
    max_tokens: int = 128
    seed: int = 0
    # "words": tokens are counted in the text; "reported": the server says how many there were.
    counting: str = "words"
    # Which of the workers this process runs: every `step`-th from `first`.
    first: int = 0
    step: int = 1

    @property
    def name(self) -> str:
        return f"{self.concurrency} concurrent, {'streaming' if self.stream else 'one answer'}"

    @property
    def workers(self) -> range:
        return range(self.first, self.concurrency, self.step)


@dataclass(frozen=True)
class Endpoint:
    """Where a server takes requests."""

    api: str  # "openai" or "triton"
    port: int
    model: str


def dump(load: Load, endpoint: Endpoint) -> str:
    """Return both as one line of JSON."""
    return json.dumps({"load": asdict(load), "endpoint": asdict(endpoint)})


def parse(text: str) -> tuple[Load, Endpoint]:
    """Return what `dump` wrote."""
    content: dict[str, dict[str, Any]] = json.loads(text)
    return Load(**content["load"]), Endpoint(**content["endpoint"])
