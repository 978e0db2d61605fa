"""What the V0 engine tells of its queues (from 0.3.3 on); `request_clock` does the rest."""

from __future__ import annotations

import functools
from typing import Any

from triton_vllm.engines.interface import StatsSink

LEVELS = {
    "num_requests_running": "num_running",
    "num_requests_waiting": "num_waiting",
    "kv_cache_usage_perc": "gpu_cache_usage",
}
# Told from 0.6.4 on, one value for each request that finished.
TIMES = {
    "request_queue_time_seconds": "time_queue_requests",
    "request_prefill_time_seconds": "time_prefill_requests",
    "request_decode_time_seconds": "time_decode_requests",
}


def listen(llm: Any, stats: StatsSink) -> None:
    """Let an AsyncLLMEngine tell `stats` after every step, and not a registry that nobody reads, which costs time."""
    if hasattr(llm, "add_logger"):
        llm.add_logger("triton", make_logger(stats))
        llm.remove_logger("prometheus")
        return
    # Before 0.5.3 there was one logger, for the registry and for the log.
    logger = getattr(getattr(llm, "engine", None), "stat_logger", None)
    if hasattr(logger, "_log_prometheus"):
        logger._log_prometheus = functools.partial(note, stats)
        logger._log_prometheus_interval = _ignore


def _ignore(*args: Any, **kwargs: Any) -> None:
    pass


def make_logger(stats: StatsSink) -> Any:
    """Return a vLLM stat logger that notes into `stats`."""
    from vllm.engine.metrics import StatLoggerBase

    class StatLogger(StatLoggerBase):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        def log(self, values: Any) -> None:
            note(stats, values)

        def info(self, *args: Any, **kwargs: Any) -> None:
            pass

    return StatLogger()


def note(stats: StatsSink, values: Any) -> None:
    """Note the state of the scheduler after a step."""
    for name, field in LEVELS.items():
        # Before 0.4.3 the names had no ending.
        level = getattr(values, f"{field}_sys", None)
        stats.level(name, getattr(values, field) if level is None else level)
    stats.count("num_preemptions_total", getattr(values, "num_preemption_iter", 0))
    for name, field in TIMES.items():
        stats.observe(name, getattr(values, field, ()))
