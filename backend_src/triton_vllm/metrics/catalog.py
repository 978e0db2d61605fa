"""Which metrics a model has."""

from __future__ import annotations

from dataclasses import dataclass

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


def build_token_buckets(limit: int) -> list[float]:
    """Return 1, 2, 5, 10, 20, 50, ... up to `limit`."""
    buckets: list[float] = []
    scale = 1
    while scale <= limit:
        buckets += [float(step * scale) for step in (1, 2, 5) if step * scale <= limit]
        scale *= 10
    return buckets
