from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from triton_vllm.engines import v1_stats
from triton_vllm.engines.request_clock import RequestClock
from triton_vllm.messages import Notes
from triton_vllm.metrics.backlog import Backlog
from triton_vllm.metrics.catalog import METRICS, build_token_buckets
from triton_vllm.metrics.recorder import Recorder
from triton_vllm.metrics.reporter import Reporter

from .fakes import FakeCompletion, FakeOutput, OldMetricFamily, make_pb_utils

MISSION = {
    "vllm:prompt_tokens_total": "COUNTER",
    "vllm:generation_tokens_total": "COUNTER",
    "vllm:time_to_first_token_seconds": "HISTOGRAM",
    "vllm:time_per_output_token_seconds": "HISTOGRAM",
    "vllm:e2e_request_latency_seconds": "HISTOGRAM",
    "vllm:request_prompt_tokens": "HISTOGRAM",
    "vllm:request_generation_tokens": "HISTOGRAM",
    "vllm:request_params_best_of": "HISTOGRAM",
    "vllm:request_params_n": "HISTOGRAM",
}


def test_names_kinds_and_labels(reporter: Reporter, pb_utils: Any) -> None:
    families = pb_utils.MetricFamily.registered
    assert {name: families[name].kind for name in MISSION} == MISSION
    for name in MISSION:
        (metric,) = families[name].metrics
        assert metric.labels == {"model": "m", "version": "1"}


def test_buckets(reporter: Reporter, pb_utils: Any) -> None:
    families = pb_utils.MetricFamily.registered
    assert families["vllm:request_prompt_tokens"].metrics[0].buckets == [1, 2, 5, 10, 20, 50, 100]
    assert families["vllm:request_params_n"].metrics[0].buckets == [1, 2, 5, 10, 20]
    assert families["vllm:time_to_first_token_seconds"].metrics[0].buckets[:3] == [
        0.001,
        0.005,
        0.01,
    ]
    for metric in METRICS:
        assert list(metric.buckets) == sorted(metric.buckets)


@pytest.mark.parametrize(("limit", "expected"), [(1, [1]), (7, [1, 2, 5]), (20, [1, 2, 5, 10, 20]), (0, [])])
def test_token_buckets(limit: int, expected: list[int]) -> None:
    assert build_token_buckets(limit) == expected


def test_a_backlog_gives_back_as_many_values_with_the_same_sum_and_buckets() -> None:
    backlog = Backlog([0.1, 1.0])
    values = [0.05, 0.1, 0.5, 0.7, 3.0, 4.0]
    backlog.put(values)
    taken = []
    while (value := backlog.take()) is not None:
        taken.append(value)
    assert len(taken) == len(values)
    assert sum(taken) == pytest.approx(sum(values))
    assert sum(value <= 0.1 for value in taken) == 2
    assert sum(value > 1.0 for value in taken) == 2
    assert len(backlog) == 0


def test_one_step_of_the_v1_engine(reporter: Reporter, recorder: Recorder, pb_utils: Any) -> None:
    finished = SimpleNamespace(
        e2e_latency=2.0,
        num_prompt_tokens=7,
        num_generation_tokens=3,
        queued_time=0.1,
        prefill_time=0.2,
        decode_time=0.3,
        finish_reason="stop",
    )
    iteration = SimpleNamespace(
        num_prompt_tokens=7,
        num_generation_tokens=2,
        num_preempted_reqs=1,
        time_to_first_tokens_iter=[0.02],
        inter_token_latencies_iter=[0.01, 0.03],
        n_params_iter=[2],
        finished_requests=[finished],
    )
    scheduler = SimpleNamespace(
        num_running_reqs=4,
        num_waiting_reqs=5,
        kv_cache_usage=0.25,
        prefix_cache_stats=SimpleNamespace(queries=10, hits=6),
    )
    steps = v1_stats.Steps(recorder)
    steps.note(0, scheduler, iteration)
    steps.note(0, scheduler, iteration)
    reporter.put(recorder.take())
    assert not reporter.report(budget=1.0)

    def only(name: str) -> Any:
        return pb_utils.MetricFamily.registered["vllm:" + name].metrics[-1]

    assert only("prompt_tokens_total").value == 14
    assert only("generation_tokens_total").value == 4
    assert only("num_preemptions_total").value == 2
    assert only("num_requests_running").value == 4
    assert only("num_requests_waiting").value == 5
    assert only("kv_cache_usage_perc").value == 0.25
    assert only("prefix_cache_hits_total").value == 12
    assert only("time_to_first_token_seconds").observed == [0.02, 0.02]
    assert sorted(only("time_per_output_token_seconds").observed) == pytest.approx([0.01, 0.01, 0.03, 0.03])
    assert only("e2e_request_latency_seconds").observed == [2.0, 2.0]
    assert only("request_params_n").observed == [2, 2]
    assert only("request_params_best_of").observed == [2, 2]
    assert only("request_generation_tokens").observed == [3, 3]
    success = only("request_success_total")
    assert (success.labels, success.value) == (
        {"model": "m", "version": "1", "finished_reason": "stop"},
        2,
    )


def test_without_histograms_counters_give_their_samples() -> None:
    pb_utils = make_pb_utils(OldMetricFamily)
    reporter = Reporter(pb_utils, {"model": "m", "version": "1"}, max_model_len=100)
    families = pb_utils.MetricFamily.registered

    def samples() -> dict[str, float]:
        buckets = families["vllm:request_params_n_bucket"].metrics
        found = {metric.labels["le"]: metric.value for metric in buckets}
        assert {frozenset(metric.labels) for metric in buckets} == {frozenset({"model", "version", "le"})}
        for part in ("sum", "count"):
            (metric,) = families[f"vllm:request_params_n_{part}"].metrics
            assert metric.labels == {"model": "m", "version": "1"}
            found[part] = metric.value
        return found

    assert set(samples().values()) == {0}
    for values in ([1, 2, 2], [4, 100]):
        reporter.put(Notes({}, {}, {"request_params_n": values}))
        assert not reporter.report(budget=1.0)
    # Each bucket has all values up to its bound, as Prometheus wants it.
    assert samples() == {"1": 1, "2": 3, "5": 4, "10": 4, "20": 4, "+Inf": 5, "sum": 109, "count": 5}
    assert {metric.labels["le"] for metric in families["vllm:time_to_first_token_seconds_bucket"].metrics} > {
        "0.001",
        "0.25",
        "7.5",
        "10",
    }
    # What needs no histogram is as ever.
    assert families["vllm:prompt_tokens_total"].kind == "COUNTER"
    assert families["vllm:num_requests_running"].kind == "GAUGE"
    assert "vllm:request_params_n" not in families


def test_without_histograms_nothing_is_lost_when_time_is_up() -> None:
    pb_utils = make_pb_utils(OldMetricFamily)
    reporter = Reporter(pb_utils, {"model": "m", "version": "1"}, max_model_len=100)
    reporter.put(Notes({("prompt_tokens_total", ""): 5}, {}, {"request_params_n": [1, 2]}))
    assert reporter.report(budget=0)
    (count,) = pb_utils.MetricFamily.registered["vllm:request_params_n_count"].metrics
    assert count.value == 0
    assert not reporter.report(budget=1.0)
    assert count.value == 2


def test_engines_beside_one_another_are_added_up(
    reporter: Reporter, recorder: Recorder, pb_utils: Any
) -> None:
    steps = v1_stats.Steps(recorder)
    for engine, running in ((0, 9), (1, 2), (0, 3)):
        scheduler = SimpleNamespace(
            num_running_reqs=running,
            num_waiting_reqs=1,
            num_skipped_waiting_reqs=4,
            kv_cache_usage=running / 10,
        )
        steps.note(engine, scheduler, None)
    reporter.put(recorder.take())
    assert not reporter.report(budget=1.0)
    registered = pb_utils.MetricFamily.registered
    assert registered["vllm:num_requests_running"].metrics[-1].value == 5
    assert registered["vllm:num_requests_waiting"].metrics[-1].value == 10
    assert registered["vllm:kv_cache_usage_perc"].metrics[-1].value == pytest.approx(0.25)


def test_what_does_not_fit_the_budget_is_reported_later(reporter: Reporter, pb_utils: Any) -> None:
    reporter.put(Notes({("prompt_tokens_total", ""): 5}, {}, {"time_per_output_token_seconds": [0.01] * 100}))
    assert reporter.report(budget=0)
    assert pb_utils.MetricFamily.registered["vllm:prompt_tokens_total"].metrics[0].value == 5
    while reporter.report(budget=1.0):
        pass
    assert (
        len(pb_utils.MetricFamily.registered["vllm:time_per_output_token_seconds"].metrics[0].observed) == 100
    )


def test_the_thread_reports_on_its_own_and_ends(reporter: Reporter, pb_utils: Any) -> None:
    metric = pb_utils.MetricFamily.registered["vllm:prompt_tokens_total"].metrics[0]
    reporter.start()
    reporter.put(Notes({("prompt_tokens_total", ""): 5}, {}, {}))
    deadline = time.monotonic() + 5
    while metric.value != 5:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    reporter.stop()
    assert not reporter._thread.is_alive()


def test_notes_add_up_and_are_taken_once(recorder: Recorder) -> None:
    recorder.put(
        Notes({("prompt_tokens_total", ""): 5}, {"num_requests_running": 3}, {"request_params_n": [1]})
    )
    recorder.put(
        Notes({("prompt_tokens_total", ""): 2}, {"num_requests_running": 1}, {"request_params_n": [2]})
    )
    notes = Notes({("prompt_tokens_total", ""): 7}, {"num_requests_running": 1}, {"request_params_n": [1, 2]})
    assert recorder.take() == notes
    assert recorder.take() == ({}, {}, {})


def test_a_requests_clock_counts_tokens_and_times(recorder: Recorder) -> None:
    now = [10.0]
    clock = RequestClock(recorder, 1, 1, lambda: now[0])
    for when, num_tokens, reason in ((10.5, 1, None), (10.7, 2, None), (11.0, 1, "length")):
        now[0] = when
        clock.note(FakeOutput([FakeCompletion(0, "x", (7,) * num_tokens, finish_reason=reason)]))
    counts, _, values = recorder.take()
    assert counts["prompt_tokens_total", ""] == 3
    assert counts["generation_tokens_total", ""] == 4
    assert counts["request_success_total", "length"] == 1
    assert values["time_to_first_token_seconds"] == pytest.approx([0.5])
    assert values["time_per_output_token_seconds"] == pytest.approx([0.1, 0.1, 0.3])
    assert values["e2e_request_latency_seconds"] == pytest.approx([1.0])
    assert values["request_generation_tokens"] == [4]
    assert values["request_params_n"] == [1]
