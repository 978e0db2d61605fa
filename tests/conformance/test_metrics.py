"""The metrics say what was served: names, types, labels, buckets and numbers."""

from __future__ import annotations

import json
import re

import pytest

from tests.conformance.fleet import Fleet
from tests.conformance.metrics import read_metrics, read_page, read_samples, wait_for_metrics
from tests.conformance.repository import SILENT
from tests.image.abilities import has
from tests.tinymodel import count_tokens
from tritonbuild.spec import BuildSpec

PROMPTS = ["The most dangerous animal is", "The capital of France is", "The future of AI is"]
TOKENS = 16
COUNTERS = ("prompt_tokens_total", "generation_tokens_total")
HISTOGRAMS = {
    "time_to_first_token_seconds": (
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
    ),
    "time_per_output_token_seconds": (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
    "e2e_request_latency_seconds": (1, 2.5, 5, 10, 15, 20, 30, 40, 50, 60),
    # 1, 2, 5, ... as far as the context goes.
    "request_prompt_tokens": (1, 2, 5, 10, 20, 50, 100, 200),
    "request_generation_tokens": (1, 2, 5, 10, 20, 50, 100, 200),
    "request_params_best_of": (1, 2, 5, 10, 20),
    "request_params_n": (1, 2, 5, 10, 20),
}  # fmt: skip


PARTS = ("bucket", "sum", "count")
NO_HISTOGRAMS = "[vllm] this Triton has no histograms for backends: theirs are counters of the same names"


def has_histograms(spec: BuildSpec) -> bool:
    """Tell whether the row's Triton has histograms for backends."""
    return spec.abilities["histograms"]


def ask_all(fleet: Fleet, **values: object) -> None:
    sampling = json.dumps({"temperature": 0, "max_tokens": TOKENS, **values})
    answers = fleet.infer_all({"text_input": prompt, "sampling_parameters": sampling} for prompt in PROMPTS)
    assert all(answer.text() for answer in answers)


@pytest.mark.parametrize("model", ["text", "pair"])
def test_the_nine_metrics_have_their_types_labels_and_buckets(fleet: Fleet, model: str) -> None:
    page = read_page(fleet)
    types = dict(re.findall(r"^# TYPE vllm:(\w+) (\w+)$", page, re.MULTILINE))
    samples = read_samples(page, model)
    for name in COUNTERS:
        assert types[name] == "counter"
        assert [labels for labels, _ in samples[name]] == [{"model": model, "version": "1"}]
    for name, bounds in HISTOGRAMS.items():
        buckets = samples[f"{name}_bucket"]
        if has_histograms(fleet.spec):
            assert types[name] == "histogram"
        else:
            assert {types[f"{name}_{part}"] for part in PARTS} == {"counter"}
            # Of counters Triton keeps no order.
            buckets.sort(key=lambda sample: float(sample[0]["le"]))
        assert [float(labels.pop("le")) for labels, _ in buckets] == [*bounds, float("inf")]
        for part in PARTS:
            for labels, _ in samples[f"{name}_{part}"]:
                assert labels == {"model": model, "version": "1"}
        counts = [count for _, count in buckets]
        assert counts == sorted(counts)
        assert counts[-1] == samples[f"{name}_count"][0][1]


@pytest.mark.parametrize("model", ["text", "pair"])
def test_numbers_are_those_of_a_known_load(fleet: Fleet, model: str) -> None:
    """One engine, and two that share their numbers."""
    server = fleet.of(model)
    before = read_metrics(server)
    ask_all(server)
    prompt_tokens, generated = sum(map(count_tokens, PROMPTS)), TOKENS * len(PROMPTS)
    expected = {
        "prompt_tokens_total": prompt_tokens,
        "generation_tokens_total": generated,
        "time_to_first_token_seconds_count": len(PROMPTS),
        "time_per_output_token_seconds_count": generated - len(PROMPTS),
        "e2e_request_latency_seconds_count": len(PROMPTS),
        "request_prompt_tokens_count": len(PROMPTS),
        "request_prompt_tokens_sum": prompt_tokens,
        "request_generation_tokens_count": len(PROMPTS),
        "request_generation_tokens_sum": generated,
        "request_params_best_of_count": len(PROMPTS),
        "request_params_best_of_sum": len(PROMPTS),
        "request_params_n_count": len(PROMPTS),
        "request_params_n_sum": len(PROMPTS),
    }
    assert wait_for_metrics(server, before, expected) == expected
    after = read_metrics(server)
    times = {
        name: after[f"{name}_seconds_sum"] - before[f"{name}_seconds_sum"]
        for name in ("time_to_first_token", "time_per_output_token", "e2e_request_latency")
    }
    assert all(seconds > 0 for seconds in times.values())
    # A request is its first token and then the others.
    assert times["e2e_request_latency"] >= times["time_per_output_token"]
    if has(fleet.spec, "scheduler statistics"):
        assert after["num_requests_running"] == after["num_requests_waiting"] == 0


def test_numbers_of_several_texts_per_prompt(fleet: Fleet) -> None:
    """Each of the n texts is a sequence of its own, as with upstream's backend; V0 reads the prompt of all only once."""
    before = read_metrics(fleet)
    ask_all(fleet, n=2, temperature=1.0, ignore_eos=True)
    prompt_tokens, generated = sum(map(count_tokens, PROMPTS)), TOKENS * len(PROMPTS)
    expected = {
        "prompt_tokens_total": prompt_tokens * (2 if has(fleet.spec, "V1") else 1),
        "generation_tokens_total": 2 * generated,
        "time_to_first_token_seconds_count": 2 * len(PROMPTS),
        "time_per_output_token_seconds_count": 2 * (generated - len(PROMPTS)),
        "request_params_n_count": len(PROMPTS),
        "request_params_n_sum": 2 * len(PROMPTS),
        "request_params_best_of_sum": 2 * len(PROMPTS),
    }
    assert wait_for_metrics(fleet, before, expected) == expected


def test_each_instance_warns_where_histograms_are_missing(fleet: Fleet) -> None:
    """One of `text` and two of `pair` report metrics."""
    warnings = fleet.container.logs().decode(errors="replace").count(NO_HISTOGRAMS)
    assert warnings == (0 if has_histograms(fleet.spec) else 3)


def test_refused_requests_are_counted_as_errors_only(fleet: Fleet) -> None:
    before = read_metrics(fleet)
    assert fleet.ask("Hello", temperature=-1).status == 400
    expected = {"request_errors_total": 1.0, "prompt_tokens_total": 0, "e2e_request_latency_seconds_count": 0}
    assert wait_for_metrics(fleet, before, expected) == expected


def test_disable_log_stats_turns_metrics_off(fleet: Fleet, spec: BuildSpec) -> None:
    model = "embedding" if has(spec, "runner") else SILENT
    if model == SILENT:
        fleet.of(model).answer("Hello")
    else:
        fleet.embed({"input": "Hello"})
    assert read_samples(read_page(fleet), model) == {}
