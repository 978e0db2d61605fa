"""What the V0 engine tells of its queues (from 0.5.3 on); `request_clock` does the rest."""

from __future__ import annotations

from typing import Any

from triton_vllm.engines.interface import StatsSink


def make_logger(stats: StatsSink) -> Any:
    """Return a vLLM stat logger that notes into `stats`."""
    try:
        from vllm.engine.metrics_types import StatLoggerBase
    except ImportError:
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
    stats.count("num_preemptions_total", getattr(values, "num_preemption_iter", 0))
    stats.changed()
