"""What the V0 engine tells of its queues (from 0.5.3 on); `request_clock` does the rest."""

from __future__ import annotations

from typing import Any

from triton_vllm.engines.interface import StatsSink

# Told from 0.6.4 on, one value for each request that finished.
TIMES = {
    "request_queue_time_seconds": "time_queue_requests",
    "request_prefill_time_seconds": "time_prefill_requests",
    "request_decode_time_seconds": "time_decode_requests",
}


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
    stats.level("num_requests_running", values.num_running_sys)
    stats.level("num_requests_waiting", values.num_waiting_sys)
    stats.level("kv_cache_usage_perc", values.gpu_cache_usage_sys)
    stats.count("num_preemptions_total", values.num_preemption_iter)
    for name, field in TIMES.items():
        stats.observe(name, getattr(values, field, ()))
