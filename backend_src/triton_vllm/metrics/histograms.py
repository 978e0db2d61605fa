"""Histograms as the server has them, or made of counters where it has none."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from triton_vllm.metrics.backlog import Backlog
from triton_vllm.metrics.catalog import COUNTER, HISTOGRAM


class Histogram(Protocol):
    """Takes values in at once, and hands them to Triton when told to."""

    def __len__(self) -> int:
        """How many calls into Triton what waits will take, more or less."""
        ...

    def put(self, values: Iterable[float]) -> None: ...

    def report(self, deadline: float) -> bool:
        """Hand over what waits until `deadline` (of time.monotonic). Returns whether some is left."""
        ...


def has_histograms(family_class: Any) -> bool:
    """Tell whether this Triton knows histograms; before 2.49 there are counters and gauges only."""
    return hasattr(family_class, HISTOGRAM)


def make_histogram(
    family_class: Any, name: str, text: str, labels: Mapping[str, str], bounds: Sequence[float]
) -> Histogram:
    """Return the histogram `name` of the best kind that this Triton has."""
    kind = NativeHistogram if has_histograms(family_class) else CountedHistogram
    return kind(family_class, name, text, labels, bounds)


class NativeHistogram:
    """A histogram of Triton, which wants one call for each value."""

    def __init__(
        self, family_class: Any, name: str, text: str, labels: Mapping[str, str], bounds: Sequence[float]
    ) -> None:
        self._backlog = Backlog(bounds)
        self._family = family_class(name=name, description=text, kind=family_class.HISTOGRAM)
        self._metric = self._family.Metric(labels=dict(labels), buckets=list(bounds))

    def __len__(self) -> int:
        return len(self._backlog)

    def put(self, values: Iterable[float]) -> None:
        self._backlog.put(values)

    def report(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            value = self._backlog.take()
            if value is None:
                return False
            self._metric.observe(value)
        return len(self._backlog) > 0


class CountedHistogram:
    """The samples of a histogram, each a counter of its own.

    A scrape gives the same series under the same names (`_bucket` with its `le`, `_sum`, `_count`), so
    that rates, averages and quantiles are asked for in the same words; only the declared type differs.
    """

    def __init__(
        self, family_class: Any, name: str, text: str, labels: Mapping[str, str], bounds: Sequence[float]
    ) -> None:
        self._backlog = Backlog(bounds)
        self._families = {
            part: family_class(name=f"{name}_{part}", description=text, kind=getattr(family_class, COUNTER))
            for part in ("bucket", "sum", "count")
        }
        self._sum = self._families["sum"].Metric(labels=dict(labels))
        self._count = self._families["count"].Metric(labels=dict(labels))
        self._buckets = [
            self._families["bucket"].Metric(labels={**labels, "le": limit})
            for limit in (*(f"{bound:.16g}" for bound in bounds), "+Inf")
        ]

    def __len__(self) -> int:
        return len(self._buckets) + 2 if len(self._backlog) else 0

    def put(self, values: Iterable[float]) -> None:
        self._backlog.put(values)

    def report(self, deadline: float) -> bool:
        if time.monotonic() >= deadline:
            return len(self._backlog) > 0
        counts, total = self._backlog.take_all()
        # A bucket holds all values up to its bound.
        for bucket, amount in zip(self._buckets, itertools.accumulate(counts), strict=True):
            if amount:
                bucket.increment(amount)
        if any(counts):
            self._sum.increment(total)
            self._count.increment(sum(counts))
        return False
