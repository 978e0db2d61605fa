"""Hands noted values to Triton."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from triton_vllm.messages import Notes
from triton_vllm.metrics.catalog import HISTOGRAM, METRICS, build_token_buckets
from triton_vllm.metrics.histograms import Histogram, make_histogram
from triton_vllm.metrics.recorder import Recorder

# How often numbers are reported while requests are on their way, in seconds, for how long at a
# time, and how much of its time the reporting thread works.
PERIOD = 0.05
BUSY_BUDGET, BUSY_SHARE = 0.005, 0.1
IDLE_BUDGET, IDLE_SHARE = 0.05, 0.5
PREFIX = "vllm:"
# A label value that only some metrics have: its name.
REASON_LABEL = "finished_reason"


class Reporter:
    """Hands notes to Triton from a thread of its own, working a small share of the time."""

    def __init__(self, pb_utils: Any, labels: Mapping[str, str], max_model_len: int) -> None:
        # Whether requests are on their way.
        self.busy = False
        self._recorder = Recorder()
        self._filled = threading.Event()
        # Set when somebody may look at the numbers soon: a request ended.
        self._hurried = threading.Event()
        self._family_class = pb_utils.MetricFamily
        self._labels = dict(labels)
        self._stopping = False
        self._families: dict[str, Any] = {}
        # By name and reason, which is empty for most.
        self._metrics: dict[tuple[str, str], Any] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            name = PREFIX + metric.name
            if metric.kind == HISTOGRAM:
                buckets = list(metric.buckets) or build_token_buckets(max_model_len)
                self._histograms[metric.name] = make_histogram(
                    self._family_class, name, metric.help, self._labels, buckets
                )
                continue
            self._families[metric.name] = self._family_class(
                name=name, description=metric.help, kind=getattr(self._family_class, metric.kind)
            )
            if metric.name != "request_success_total":
                self._metrics[metric.name, ""] = self._families[metric.name].Metric(labels=self._labels)
        self._thread = threading.Thread(target=self._run, name="vllm-metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, notes: Notes) -> None:
        """Report these numbers soon."""
        self._recorder.put(notes)
        self._filled.set()

    def count(self, name: str, amount: float = 1) -> None:
        """Count something soon, at once when a request ended with it."""
        self._recorder.count(name, amount)
        self.hurry()

    def hurry(self) -> None:
        """Report at once what there is."""
        self._filled.set()
        self._hurried.set()

    def stop(self, timeout: float = 1.0) -> None:
        """Report what is left, for at most `timeout` seconds, and let go of Triton's objects."""
        self._stopping = True
        self.hurry()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self._thread.is_alive():
            self._histograms.clear()
            self._metrics.clear()
            self._families.clear()

    def _run(self) -> None:
        while not self._stopping:
            self._filled.wait()
            self._filled.clear()
            if self.busy:
                self._hurried.wait(PERIOD)
            self._hurried.clear()
            started = time.monotonic()
            if self.report(budget=BUSY_BUDGET if self.busy else IDLE_BUDGET):
                self._filled.set()
            # A call into Triton holds the interpreter: leave it to the other threads for long.
            share = BUSY_SHARE if self.busy else IDLE_SHARE
            time.sleep(min((time.monotonic() - started) * (1 / share - 1), 1.0))

    def report(self, budget: float) -> bool:
        """Hand over what waits, for about `budget` seconds. Returns whether some is left."""
        notes = self._recorder.take()
        for name, noted in notes.values.items():
            self._histograms[name].put(noted)
        for key, amount in notes.counts.items():
            self._metric(key).increment(amount)
        for name, level in notes.levels.items():
            self._metric((name, "")).set(level)
        deadline = time.monotonic() + budget
        # The shortest backlogs first: the histogram with a value per token never delays the rest.
        return any(histogram.report(deadline) for histogram in sorted(self._histograms.values(), key=len))

    def _metric(self, key: tuple[str, str]) -> Any:
        if key not in self._metrics:
            labels = {**self._labels, REASON_LABEL: key[1]} if key[1] else self._labels
            self._metrics[key] = self._families[key[0]].Metric(labels=labels)
        return self._metrics[key]
