"""Puts the backend on the path, with a fake of the module that only Triton's stub has."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "backend_src"))

from triton_vllm.loopthread import LoopThread
from triton_vllm.metrics import Recorder
from triton_vllm.service import Service

from .fakes import FakeEngine, make_pb_utils

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
def failures() -> list[str]:
    """What a service says when its engine fails."""
    return []


@pytest.fixture
def service(pb_utils: Any, engine: FakeEngine, recorder: Recorder, failures: list[str]) -> Iterator[Service]:
    """A running service on the fake engine."""
    loop = LoopThread("test-loop")
    loop.start()
    service = Service(
        pb_utils=pb_utils,
        engine=engine,
        loop=loop,
        loras=None,
        stats=recorder,
        health_check=False,
        on_engine_failure=lambda: failures.append("failed"),
    )
    service.start()
    yield service
    service.stop()
    loop.stop(timeout=2.0)
