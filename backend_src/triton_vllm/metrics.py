"""The metrics of a model: which there are, and how values reach Triton.

One call into Triton takes tens of microseconds and one is needed per observed value, so the
engine's thread only notes values (`Recorder`), and a thread of its own hands them over
(`Reporter`), working a small share of the time.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

COUNTER, GAUGE, HISTOGRAM = "COUNTER", "GAUGE", "HISTOGRAM"

FIRST_TOKEN = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
)
PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
LATENCY = (1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
PHASE = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
SEQUENCES = (1.0, 2.0, 5.0, 10.0, 20.0)
TOKENS: tuple[float, ...] = ()  # filled in from the model's context length


@dataclass(frozen=True)
class Metric:
    """One metric family. A histogram with no buckets gets 1, 2, 5, 10, ... up to the context."""

    name: str
    kind: str
    help: str
    buckets: tuple[float, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric("prompt_tokens_total", COUNTER, "Number of prefill tokens processed."),
    Metric("generation_tokens_total", COUNTER, "Number of generation tokens processed."),
    Metric(
        "time_to_first_token_seconds",
        HISTOGRAM,
        "Histogram of time to first token in seconds.",
        FIRST_TOKEN,
    ),
    Metric(
        "time_per_output_token_seconds",
        HISTOGRAM,
        "Histogram of time per output token in seconds.",
        PER_TOKEN,
    ),
    Metric(
        "e2e_request_latency_seconds",
        HISTOGRAM,
        "Histogram of end to end request latency in seconds.",
        LATENCY,
    ),
    Metric("request_prompt_tokens", HISTOGRAM, "Number of prefill tokens processed.", TOKENS),
    Metric("request_generation_tokens", HISTOGRAM, "Number of generation tokens processed.", TOKENS),
    Metric(
        "request_params_best_of",
        HISTOGRAM,
        "Histogram of the best_of request parameter.",
        SEQUENCES,
    ),
    Metric("request_params_n", HISTOGRAM, "Histogram of the n request parameter.", SEQUENCES),
    Metric("num_requests_running", GAUGE, "Number of requests in the running batch."),
    Metric("num_requests_waiting", GAUGE, "Number of requests waiting to be scheduled."),
    Metric("kv_cache_usage_perc", GAUGE, "Share of the KV cache in use, from 0 to 1."),
    Metric("prefix_cache_queries_total", COUNTER, "Prompt tokens looked up in the prefix cache."),
    Metric("prefix_cache_hits_total", COUNTER, "Prompt tokens found in the prefix cache."),
    Metric("num_preemptions_total", COUNTER, "Number of times a running request was preempted."),
    Metric(
        "request_queue_time_seconds",
        HISTOGRAM,
        "Histogram of time spent waiting in seconds.",
        PHASE,
    ),
    Metric(
        "request_prefill_time_seconds",
        HISTOGRAM,
        "Histogram of time spent in prefill in seconds.",
        PHASE,
    ),
    Metric(
        "request_decode_time_seconds",
        HISTOGRAM,
        "Histogram of time spent in decode in seconds.",
        PHASE,
    ),
    Metric("request_success_total", COUNTER, "Number of finished sequences, by finished_reason."),
    Metric("request_errors_total", COUNTER, "Number of requests answered with an error."),
    Metric("request_cancellations_total", COUNTER, "Number of requests cancelled by their client."),
)
NAMES = frozenset(metric.name for metric in METRICS)
# How often numbers are reported while requests are on their way, in seconds, for how long at a
# time, and how much of its time the reporting thread works.
PERIOD = 0.05
BUSY_BUDGET, BUSY_SHARE = 0.005, 0.1
IDLE_BUDGET, IDLE_SHARE = 0.05, 0.5
# A label value that only some metrics have: its name.
REASON_LABEL = "finished_reason"

if TYPE_CHECKING:
    Key = tuple[str, str]  # metric name, reason ("" for most)


def build_token_buckets(limit: int) -> list[float]:
    """Return 1, 2, 5, 10, 20, 50, ... up to `limit`."""
    buckets: list[float] = []
    scale = 1
    while scale <= limit:
        buckets += [float(step * scale) for step in (1, 2, 5) if step * scale <= limit]
        scale *= 10
    return buckets


class Recorder:
    """Takes values in from any thread, without calling Triton."""

    def __init__(self) -> None:
        self.filled = threading.Event()
        # Set when somebody may look at the numbers soon: a request ended.
        self.hurried = threading.Event()
        # Whether requests are on their way.
        self.busy = False
        self._open = True
        self._lock = threading.Lock()
        self._counts: dict[Key, float] = {}
        self._levels: dict[str, float] = {}
        self._values: dict[str, list[float]] = {}

    def count(self, name: str, amount: float = 1, reason: str = "") -> None:
        if amount > 0 and self._open:
            with self._lock:
                self._counts[name, reason] = self._counts.get((name, reason), 0) + amount

    def level(self, name: str, value: float) -> None:
        with self._lock:
            self._levels[name] = value

    def observe(self, name: str, values: Iterable[float]) -> None:
        if self._open:
            with self._lock:
                self._values.setdefault(name, []).extend(values)

    def changed(self) -> None:
        """Say that a group of notes is complete."""
        self.filled.set()

    def hurry(self) -> None:
        """Say that what was noted should be reported at once."""
        self.filled.set()
        self.hurried.set()

    def close(self) -> None:
        """Drop what was noted and what comes: nobody will take it."""
        self._open = False
        self.take()

    def take(self) -> tuple[dict[Key, float], dict[str, float], dict[str, list[float]]]:
        """Return what was noted since the last call: counts, levels and observed values."""
        with self._lock:
            taken = self._counts, self._levels, self._values
            self._counts, self._levels, self._values = {}, {}, {}
        return taken


class Backlog:
    """Values of one histogram that wait for their turn: a count and a sum per bucket.

    Keeps memory bounded however far behind the reporter is. The values handed out have the same
    number per bucket and the same sum as those put in.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sums = [0.0] * (len(bounds) + 1)
        self._next = 0

    def __len__(self) -> int:
        return sum(self._counts)

    def put(self, values: Iterable[float]) -> None:
        for value in values:
            index = bisect_left(self._bounds, value)
            self._counts[index] += 1
            self._sums[index] += value

    def take(self) -> float | None:
        """Return one value, or None when nothing waits."""
        for step in range(len(self._counts)):
            index = (self._next + step) % len(self._counts)
            if self._counts[index]:
                value = self._sums[index] / self._counts[index]
                self._counts[index] -= 1
                self._sums[index] -= value
                self._next = index
                return value
        return None


class Reporter:
    """Hands the recorder's notes to Triton from a thread of its own."""

    def __init__(
        self,
        pb_utils: Any,
        recorder: Recorder,
        labels: Mapping[str, str],
        max_model_len: int,
    ) -> None:
        self._family_class = pb_utils.MetricFamily
        self._labels = dict(labels)
        self._recorder = recorder
        self._stopping = False
        self._families: dict[str, Any] = {}
        self._metrics: dict[Key, Any] = {}
        self._backlogs: dict[str, Backlog] = {}
        for metric in METRICS:
            family = self._family_class(
                name="vllm:" + metric.name,
                description=metric.help,
                kind=getattr(self._family_class, metric.kind),
            )
            self._families[metric.name] = family
            if metric.kind == HISTOGRAM:
                buckets = list(metric.buckets) or build_token_buckets(max_model_len)
                self._backlogs[metric.name] = Backlog(buckets)
                self._metrics[metric.name, ""] = family.Metric(labels=self._labels, buckets=buckets)
            elif metric.name != "request_success_total":
                self._metrics[metric.name, ""] = family.Metric(labels=self._labels)
        self._thread = threading.Thread(target=self._run, name="vllm-metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Report what is left, for at most `timeout` seconds, and let go of Triton's objects."""
        self._stopping = True
        self._recorder.hurry()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self._thread.is_alive():
            self._metrics.clear()
            self._families.clear()

    def _run(self) -> None:
        recorder = self._recorder
        while not self._stopping:
            recorder.filled.wait()
            recorder.filled.clear()
            if recorder.busy:
                recorder.hurried.wait(PERIOD)
            recorder.hurried.clear()
            started = time.monotonic()
            if self.report(budget=BUSY_BUDGET if recorder.busy else IDLE_BUDGET):
                recorder.filled.set()
            # A call into Triton holds the interpreter: leave it to the engine's thread for long.
            share = BUSY_SHARE if recorder.busy else IDLE_SHARE
            time.sleep(min((time.monotonic() - started) * (1 / share - 1), 1.0))

    def report(self, budget: float) -> bool:
        """Hand over what waits, for about `budget` seconds. Returns whether some is left."""
        counts, levels, values = self._recorder.take()
        for name, noted in values.items():
            self._backlogs[name].put(noted)
        for key, amount in counts.items():
            self._metric(key).increment(amount)
        for name, level in levels.items():
            self._metric((name, "")).set(level)
        deadline = time.monotonic() + budget
        # The shortest backlogs first: the histogram with a value per token never delays the rest.
        for name, backlog in sorted(self._backlogs.items(), key=lambda item: len(item[1])):
            observe = self._metric((name, "")).observe
            while time.monotonic() < deadline:
                value = backlog.take()
                if value is None:
                    break
                observe(value)
            else:
                return True
        return False

    def _metric(self, key: Key) -> Any:
        if key not in self._metrics:
            labels = {**self._labels, REASON_LABEL: key[1]} if key[1] else self._labels
            self._metrics[key] = self._families[key[0]].Metric(labels=labels)
        return self._metrics[key]
