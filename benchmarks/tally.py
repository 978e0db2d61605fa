"""Collects what requests took, and sums it up."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Answer:
    """One answered request; times in seconds of one clock."""

    begun: float
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    messages: int = 0
    error: str = ""

    def message(self, now: float, tokens: int) -> None:
        """Note a message that carried `tokens` tokens."""
        if not self.messages:
            self.first = now
        self.last = now
        self.messages += 1
        self.tokens += tokens


@dataclass
class Tally:
    """The answers of one measurement, from one process or several."""

    asked_tokens: int
    answers: list[Answer] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return what was wrong, each kind once with its number."""
        kinds: dict[str, int] = {}
        for answer in self.answers:
            if answer.error:
                kinds[answer.error] = kinds.get(answer.error, 0) + 1
            elif answer.tokens != self.asked_tokens:
                kind = f"{answer.tokens} tokens instead of {self.asked_tokens}"
                kinds[kind] = kinds.get(kind, 0) + 1
        if not self.answers:
            kinds["no request was answered"] = 1
        return [f"{kind} ({number}x)" for kind, number in sorted(kinds.items())]

    def dump(self) -> list[dict[str, Any]]:
        return [asdict(answer) for answer in self.answers]

    def summary(self, stream: bool) -> dict[str, Any]:
        """Return throughput, latencies and messages."""
        good = [answer for answer in self.answers if not answer.error]
        if not good:
            return {"requests": 0, "tokens": 0, "tokens_per_second": 0.0}
        tokens = sum(answer.tokens for answer in good)
        span = max(answer.last for answer in good) - min(answer.begun for answer in good)
        latencies = [answer.last - answer.begun for answer in good]
        result: dict[str, Any] = {
            "requests": len(good),
            "tokens": tokens,
            "seconds": round(span, 3),
            "tokens_per_second": round(tokens / span, 1) if span else 0.0,
            "latency_p50": percentile(latencies, 50),
            "latency_p99": percentile(latencies, 99),
            "messages_per_request": round(statistics.fmean(answer.messages for answer in good), 1),
        }
        if stream:
            firsts = [answer.first - answer.begun for answer in good]
            paces = [(a.last - a.first) / (a.tokens - 1) for a in good if a.tokens > 1]
            result["first_token_p50"] = percentile(firsts, 50)
            result["first_token_p99"] = percentile(firsts, 99)
            result["inter_token_p50"] = percentile(paces, 50)
        return result


def merge(asked_tokens: int, parts: Sequence[list[dict[str, Any]]]) -> Tally:
    """Return one tally of what several processes dumped."""
    return Tally(asked_tokens, [Answer(**answer) for part in parts for answer in part])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile, to 0.01 ms."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    rank = max(0, min(len(ordered) - 1, round(percent / 100 * len(ordered) + 0.5) - 1))
    return round(ordered[rank], 5)


def medians(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every figure over the rounds."""
    names = {name for summary in summaries for name in summary}
    result: dict[str, Any] = {}
    for name in sorted(names):
        values = [summary[name] for summary in summaries if summary.get(name) is not None]
        result[name] = statistics.median(values) if values else None
    return result
