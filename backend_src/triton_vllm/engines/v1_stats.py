"""What the V1 engine counts at every step, noted under the names of our metrics."""

from __future__ import annotations

import inspect
from typing import Any

from triton_vllm.engines.interface import StatsSink


def make_logger_class(stats: StatsSink) -> Any:
    """Return a class of vLLM stat loggers that note into `stats`, None where vLLM has none yet.

    It is made from PrometheusStatLogger and keeps nothing of it. Newer engines always run one of
    that kind, their own unless they are given another, and their own takes a few percent of the
    front end's thread for a registry that nobody reads.
    """
    try:
        from vllm.v1.metrics.loggers import PrometheusStatLogger
    except ImportError:
        return None
    if not hasattr(PrometheusStatLogger, "record"):
        return None
    steps = Steps(stats)

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        # vLLM makes one for each engine, with its index, or one for all, which record() tells apart.
        index = args[1] if len(args) > 1 else kwargs.get("engine_index")
        self.triton_engine = index if isinstance(index, int) else 0

    def record(self: Any, scheduler_stats: Any, iteration_stats: Any, *others: Any, **named: Any) -> None:
        # The engine's index is the third argument in some versions, in some it has a name.
        given = named.get("engine_idx", next((other for other in others if isinstance(other, int)), None))
        steps.note(self.triton_engine if given is None else given, scheduler_stats, iteration_stats)

    members: dict[str, Any] = {
        name: _ignore
        for name in dir(PrometheusStatLogger)
        if not name.startswith("_") and callable(getattr(PrometheusStatLogger, name))
    }
    members.update(__init__=initialize, record=record)
    return type("StatLogger", (PrometheusStatLogger,), members)


def drops_default_loggers() -> bool:
    """Return whether an engine that is told to log no statistics still feeds the loggers it is given."""
    try:
        from vllm.v1.metrics.loggers import StatLoggerManager
    except ImportError:
        return False
    return "enable_default_loggers" in inspect.signature(StatLoggerManager.__init__).parameters


def replace_loggers(current: list[Any], logger_class: Any) -> None:
    """Put our loggers in the place of vLLM's: one, or in a list for each engine."""
    if current and isinstance(current[0], list):
        current[:] = [[logger_class(None, engine)] for engine in range(len(current))]
    else:
        current[:] = [logger_class(None)]


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Stand in for what vLLM's logger does beside recording."""


class Steps:
    """Notes the steps of the engines: of one, or with data parallelism of several."""

    def __init__(self, stats: StatsSink) -> None:
        self._stats = stats
        self._queues: dict[int, tuple[float, float, float]] = {}

    def note(self, engine: int, scheduler: Any | None, iteration: Any | None) -> None:
        """Note one step of an engine: its queues, and what its requests got."""
        if scheduler is not None:
            self._note_scheduler(engine, scheduler)
        if iteration is not None:
            _note_iteration(self._stats, iteration)

    def _note_scheduler(self, engine: int, scheduler: Any) -> None:
        stats = self._stats
        # In newer versions requests that wait for something else than their turn are counted apart.
        waiting = scheduler.num_waiting_reqs + getattr(scheduler, "num_skipped_waiting_reqs", 0)
        # Named after the GPU in early versions.
        usage = getattr(scheduler, "kv_cache_usage", None)
        if usage is None:
            usage = scheduler.gpu_cache_usage
        self._queues[engine] = (scheduler.num_running_reqs, waiting, usage)
        queues = self._queues.values()
        stats.level("num_requests_running", sum(queue[0] for queue in queues))
        stats.level("num_requests_waiting", sum(queue[1] for queue in queues))
        stats.level("kv_cache_usage_perc", sum(queue[2] for queue in queues) / len(queues))
        prefix_cache = getattr(scheduler, "prefix_cache_stats", None)
        if prefix_cache is not None:
            stats.count("prefix_cache_queries_total", prefix_cache.queries)
            stats.count("prefix_cache_hits_total", prefix_cache.hits)


def _note_iteration(stats: StatsSink, iteration: Any) -> None:
    stats.count("prompt_tokens_total", iteration.num_prompt_tokens)
    stats.count("generation_tokens_total", iteration.num_generation_tokens)
    stats.count("num_preemptions_total", iteration.num_preempted_reqs)
    stats.observe("time_to_first_token_seconds", iteration.time_to_first_tokens_iter)
    between = getattr(iteration, "inter_token_latencies_iter", None)
    if between is None:
        between = iteration.time_per_output_tokens_iter
    stats.observe("time_per_output_token_seconds", between)
    if iteration.n_params_iter:
        stats.observe("request_params_n", iteration.n_params_iter)
        # This engine has no best_of: a request makes exactly the n sequences that it returns.
        stats.observe("request_params_best_of", iteration.n_params_iter)
    for request in iteration.finished_requests:
        stats.observe("e2e_request_latency_seconds", (request.e2e_latency,))
        stats.observe("request_prompt_tokens", (request.num_prompt_tokens,))
        stats.observe("request_generation_tokens", (request.num_generation_tokens,))
        stats.observe("request_queue_time_seconds", (request.queued_time,))
        stats.observe("request_prefill_time_seconds", (request.prefill_time,))
        stats.observe("request_decode_time_seconds", (request.decode_time,))
        stats.count("request_success_total", 1, str(request.finish_reason))
