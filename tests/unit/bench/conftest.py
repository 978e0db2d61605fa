"""Targets whose speed and accidents the test decides."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, runner
from benchmarks.load import Load
from benchmarks.plan import Plan
from benchmarks.run import run
from benchmarks.servers import StartFailure, TargetEnded
from benchmarks.tally import Answer, Tally
from benchmarks.target import Target, Usage

Runs = Callable[..., dict[str, Any]]


@dataclass
class FakeTarget(Target):
    """Answers one request at each load, as fast as `speeds` says, a turn after the other."""

    name: str = ""
    speeds: tuple[float, ...] = (1000.0,)  # tokens per second; the last one stays
    ends_at: int | None = None  # the turn, from 0, that it does not survive
    refuses: bool = False
    counts: int | None = None  # what its counter says of the tokens, if it has one
    idle_cores: float = 0.0
    spins: int = 0  # how many times it is found busy after a turn
    hears: Callable[[str], None] = lambda _: None
    log: list[str] = field(default_factory=list)  # shared by all: what was asked of whom
    turns: int = 0
    burned: float = 0.0
    spinning: int = 0

    def start(self) -> float:
        self.log.append(f"{self.name} starts")
        if self.refuses:
            msg = "no memory left"
            raise StartFailure(msg)
        return 1.0

    def ask(self, load: Load) -> Tally:
        # A round counts the seed up from that of the warm-up, which ends in 00.
        if load.seed % 100 == 0:
            return Tally(load.max_tokens, [Answer(0.0, 1.0, 1.0, load.max_tokens, 1)])
        self.log.append(self.name)
        turn, self.turns = self.turns, self.turns + 1
        if turn == self.ends_at:
            msg = "ended with exit code 1"
            raise TargetEnded(msg)
        self.hears(self.name)
        self.spinning = self.spins
        speed = self.speeds[min(turn, len(self.speeds) - 1)]
        seconds = load.max_tokens / speed
        return Tally(load.max_tokens, [Answer(1.0, 1 + seconds / 10, 1 + seconds, load.max_tokens, 1)])

    def stop(self) -> tuple[float, int | None]:
        self.log.append(f"{self.name} stops")
        return 0.5, 0

    def front_end(self) -> Usage:
        return Usage({})

    def everything(self) -> Usage:
        # Called twice for each look, which takes next to no time here.
        self.burned += self.idle_cores + (1.0 if self.spinning else 0.0)
        self.spinning = max(0, self.spinning - 1)
        return Usage({"1:fake": self.burned})

    def observe(self) -> dict[str, Any]:
        if self.counts is None:
            return {}
        return {"vllm_counters": [f'vllm:generation_tokens_total{{model="bench"}} {self.counts}']}


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have no GPU, wait for nothing, and give the signal back that a run takes."""
    monkeypatch.setattr(machine, "gpus", list)
    monkeypatch.setattr(runner, "SETTLE_STEP", 0.0)
    monkeypatch.setattr(runner, "SETTLE_WITHIN", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        name="results",
        model="tiny-opt",
        engine_args={"max_model_len": 1024},
        targets=("engine", "openai", "triton"),
        concurrency=(64,),
        modes=(False,),
        seconds=4.0,
        rounds=3,
        in_turns=True,
        max_tokens=100,
        counting="words",
        port=28000,
        client_processes=1,
        client_realtime=False,
        profile_seconds=0,
        triton=None,
        backend=None,
        other_backend=None,
        work=tmp_path,
        out=tmp_path,
    )


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def run_fakes(plan: Plan, log: list[str]) -> Runs:
    """Run the plan with fakes, those that are named with what is said of them."""

    def run_them(fakes: dict[str, dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
        def make(name: str, _: Plan) -> Target:
            return FakeTarget(name=name, log=log, **(fakes or {}).get(name, {}))

        return run(replace(plan, **changes), make)

    return run_them
