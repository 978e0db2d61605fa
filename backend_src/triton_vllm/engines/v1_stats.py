"""What the V1 engine counts at every step, noted under the names of our metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triton_vllm.engines.interface import StatsSink


def make_logger_factory(stats: StatsSink) -> Callable[..., Any]:
    """Return a factory of vLLM stat loggers that note into `stats`."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class StatLogger(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

        def record(self, *args: Any, **kwargs: Any) -> None:
            # Positional in some versions; the first two have kept their order.
            scheduler = kwargs.get("scheduler_stats", args[0] if args else None)
            iteration = kwargs.get("iteration_stats", args[1] if len(args) > 1 else None)
            note(stats, scheduler, iteration)

        def log(self, *args: Any, **kwargs: Any) -> None:
            pass

        def log_engine_initialized(self) -> None:
            pass

    return StatLogger


def note(stats: StatsSink, scheduler: Any | None, iteration: Any | None) -> None:
    """Note one step of the engine: its queues, and what its requests got."""
    if scheduler is not None:
        _note_scheduler(stats, scheduler)
    if iteration is not None:
        _note_iteration(stats, iteration)


def _note_scheduler(stats: StatsSink, scheduler: Any) -> None:
    stats.level("num_requests_running", scheduler.num_running_reqs)
    stats.level("num_requests_waiting", scheduler.num_waiting_reqs)
    # Named after the GPU in early versions.
    for name in ("kv_cache_usage", "gpu_cache_usage"):
        if hasattr(scheduler, name):
            stats.level("kv_cache_usage_perc", getattr(scheduler, name))
            break
    prefix_cache = getattr(scheduler, "prefix_cache_stats", None)
    if prefix_cache is not None:
        stats.count("prefix_cache_queries_total", prefix_cache.queries)
        stats.count("prefix_cache_hits_total", prefix_cache.hits)


def _note_iteration(stats: StatsSink, iteration: Any) -> None:
    stats.count("prompt_tokens_total", iteration.num_prompt_tokens)
    stats.count("generation_tokens_total", iteration.num_generation_tokens)
    stats.count("num_preemptions_total", getattr(iteration, "num_preempted_reqs", 0))
    stats.observe("time_to_first_token_seconds", iteration.time_to_first_tokens_iter)
    between = getattr(iteration, "inter_token_latencies_iter", None)
    if between is None:
        between = getattr(iteration, "time_per_output_tokens_iter", ())
    stats.observe("time_per_output_token_seconds", between)
    counts = getattr(iteration, "n_params_iter", None)
    if counts:
        stats.observe("request_params_n", counts)
        # This engine has no best_of: a request makes exactly the n sequences that it returns.
        stats.observe("request_params_best_of", counts)
    for request in iteration.finished_requests:
        stats.observe("e2e_request_latency_seconds", (request.e2e_latency,))
        stats.observe("request_prompt_tokens", (request.num_prompt_tokens,))
        stats.observe("request_generation_tokens", (request.num_generation_tokens,))
        stats.observe("request_queue_time_seconds", (request.queued_time,))
        stats.observe("request_prefill_time_seconds", (request.prefill_time,))
        stats.observe("request_decode_time_seconds", (request.decode_time,))
        stats.count("request_success_total", 1, str(request.finish_reason))
