"""Starts the engine of the vLLM that this Python has, with random weights."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "backend_src"))

from triton_vllm.engines.interface import Engine, GenerateJob, Output
from triton_vllm.engines.selection import start_engine
from triton_vllm.sampling import Sampling

from benchmarks.models import write_model

T = TypeVar("T")


def pytest_configure(config: pytest.Config) -> None:
    # What vLLM warns of, and what its objects say when Python exits, is not ours to fail for.
    config.addinivalue_line("filterwarnings", "default")


class Sink:
    """A `StatsSink` that keeps everything."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.levels: dict[str, float] = {}
        self.observed: dict[str, list[float]] = defaultdict(list)

    def count(self, name: str, amount: float = 1, reason: str = "") -> None:
        self.counted[name] += int(amount)

    def level(self, name: str, value: float) -> None:
        self.levels[name] = value

    def observe(self, name: str, values: Any) -> None:
        self.observed[name].extend(values)

    def clear(self) -> None:
        self.counted.clear()
        self.observed.clear()


class Running:
    """A started engine and the loop that it lives on."""

    def __init__(self, model: Path, stats: Sink | None, **arguments: Any) -> None:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        self._loop = asyncio.new_event_loop()
        self._number = 0
        arguments = {
            "model": str(model),
            "load_format": "dummy",
            "max_model_len": 512,
            "max_num_seqs": 16,
            "enforce_eager": True,
            **arguments,
        }
        self.engine: Engine = self.run(self._start(arguments, stats))

    async def _start(self, arguments: dict[str, Any], stats: Sink | None) -> Engine:
        return start_engine(arguments, stats)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(work, 120))

    def job(
        self, prompt: Any, stream: bool, logprobs: bool = False, structured: Any = None, **sampling: Any
    ) -> GenerateJob:
        self._number += 1
        params = self.engine.make_params(Sampling(sampling, structured), stream, logprobs)
        return GenerateJob(f"request-{self._number}", prompt, params)

    def generate(self, prompt: Any, stream: bool, logprobs: bool = False, **sampling: Any) -> list[Output]:
        async def collect() -> list[Output]:
            job = self.job(prompt, stream, logprobs, **sampling)
            return [output async for output in self.engine.generate(job)]

        return self.run(collect())

    def stop(self) -> None:
        async def stop() -> None:
            self.engine.shutdown()
            await asyncio.sleep(0.1)

        self.run(stop())
        self._loop.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("tiny-opt", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def sink() -> Sink:
    return Sink()


@pytest.fixture(scope="session")
def running(model: Path, sink: Sink) -> Iterator[Running]:
    running = Running(model, sink)
    yield running
    running.stop()
