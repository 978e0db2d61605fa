"""Puts the backend on the path, with a fake of the module that only Triton's stub has."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "backend_src"))

from triton_vllm import messages
from triton_vllm.metrics.recorder import Recorder
from triton_vllm.metrics.reporter import Reporter
from triton_vllm.service import Service

from .fakes import FakeEngine, FakeWorker, make_pb_utils

sys.modules.setdefault("triton_python_backend_utils", make_pb_utils())


@pytest.fixture
def pb_utils() -> Any:
    return make_pb_utils()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def reporter(pb_utils: Any) -> Reporter:
    return Reporter(pb_utils, {"model": "m", "version": "1"}, max_model_len=100)


@pytest.fixture
def failures() -> list[str]:
    """What a service says when its engine fails."""
    return []


@pytest.fixture
def worker(engine: FakeEngine, recorder: Recorder) -> Iterator[FakeWorker]:
    """A worker on the fake engine, in a thread of this process."""
    worker = FakeWorker(engine, recorder)
    yield worker
    worker.stop()


@pytest.fixture
def service(pb_utils: Any, worker: FakeWorker, reporter: Reporter, failures: list[str]) -> Iterator[Service]:
    """A running service on that worker."""
    service = Service(
        pb_utils=pb_utils,
        link=worker.link,
        started=messages.Started(worker.engine.fields, 100, "fake", frozenset({"generate", "embed"})),
        model_name="m",
        takes_priority=True,
        reporter=reporter,
        health_check=False,
        on_engine_failure=lambda: failures.append("failed"),
        num_lanes=worker.num_lanes,
    )
    reporter.start()
    service.start()
    yield service
    service.stop()
    reporter.stop()
