"""Reads the server's metrics page."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from tests.conformance.fleet import Fleet
from tests.image.places import METRICS

SAMPLE = re.compile(r"^vllm:(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
SETTLED_WITHIN = 20

Samples = dict[str, list[tuple[dict[str, str], float]]]


def read_page(fleet: Fleet) -> str:
    return fleet.get("/metrics", port=METRICS).text


def read_samples(page: str, model: str) -> Samples:
    """Return the samples of one model by name, with their other labels, in the order of the page."""
    found: Samples = {}
    for name, text, value in SAMPLE.findall(page):
        labels = dict(LABEL.findall(text))
        if labels["model"] == model:
            found.setdefault(name, []).append((labels, float(value)))
    return found


def read_metrics(fleet: Fleet) -> Mapping[str, float]:
    """Return the samples of the fleet's model that have no further labels, by name."""
    return {
        name: value
        for name, samples in read_samples(read_page(fleet), fleet.model).items()
        for labels, value in samples
        if set(labels) == {"model", "version"}
    }


def wait_for_metrics(
    fleet: Fleet, before: Mapping[str, float], expected: Mapping[str, float]
) -> dict[str, float]:
    """Return by how much the named metrics grew, once they have grown that much or time is up.

    A thread of its own hands the numbers to Triton, a moment after the answer.
    """
    deadline = time.monotonic() + SETTLED_WITHIN
    while True:
        after = read_metrics(fleet)
        grown = {name: after[name] - before[name] for name in expected}
        if grown == expected or time.monotonic() > deadline:
            return grown
        time.sleep(0.1)
