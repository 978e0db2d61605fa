"""How a run goes: who is asked when, and what is kept when something goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import runner
from benchmarks.plan import Plan, find_memory_problem
from tests.unit.bench.conftest import Runs


def _turns(log: list[str]) -> list[str]:
    return [entry for entry in log if " " not in entry]


def _tokens(results: dict[str, Any], name: str) -> list[float]:
    (run,) = results["targets"][name]["runs"]
    return list(run["rounds"]["tokens_per_second"])


def test_another_target_is_first_in_each_round(run_fakes: Runs, log: list[str]) -> None:
    run_fakes()
    assert _turns(log) == [
        *("engine", "openai", "triton"),
        *("openai", "triton", "engine"),
        *("triton", "engine", "openai"),
    ]


def test_all_targets_are_up_before_the_first_is_asked(run_fakes: Runs, log: list[str]) -> None:
    run_fakes()
    assert log[:3] == ["engine starts", "openai starts", "triton starts"]
    assert sorted(log[-3:]) == ["engine stops", "openai stops", "triton stops"]


def test_every_load_has_its_rounds_before_the_next_one(run_fakes: Runs) -> None:
    results = run_fakes(concurrency=(16, 64), modes=(False, True))
    loads = [(run["stream"], run["concurrency"]) for run in results["targets"]["triton"]["runs"]]
    assert loads == [(False, 16), (False, 64), (True, 16), (True, 64)]


def test_rounds_of_all_targets_lie_side_by_side(run_fakes: Runs) -> None:
    results = run_fakes(
        {"engine": {"speeds": (100.0, 200.0, 400.0)}, "triton": {"speeds": (90.0, 180.0, 360.0)}}
    )
    assert _tokens(results, "engine") == [100, 200, 400]
    assert _tokens(results, "triton") == [90, 180, 360]


def test_one_at_a_time_stops_each_before_the_next_starts(run_fakes: Runs, log: list[str]) -> None:
    results = run_fakes(in_turns=False, rounds=2, targets=("engine", "triton"))
    assert log == [
        *("engine starts", "engine", "engine", "engine stops"),
        *("triton starts", "triton", "triton", "triton stops"),
    ]
    assert results["problems"] == []


def test_target_that_does_not_start_is_a_problem_and_the_others_are_measured(
    run_fakes: Runs, log: list[str]
) -> None:
    results = run_fakes({"openai": {"refuses": True}})
    assert results["problems"] == ["openai: no memory left"]
    assert list(results["targets"]) == ["engine", "triton"]
    assert len(_tokens(results, "triton")) == 3
    assert log[:4] == ["engine starts", "openai starts", "openai stops", "triton starts"]


def test_target_that_dies_keeps_its_rounds_and_the_others_go_on(run_fakes: Runs, log: list[str]) -> None:
    results = run_fakes({"openai": {"ends_at": 1}}, rounds=4)
    assert results["problems"] == ["openai: ended with exit code 1"]
    assert len(_tokens(results, "openai")) == 1
    assert len(_tokens(results, "engine")) == len(_tokens(results, "triton")) == 4
    assert log.count("openai stops") == 1


def test_target_that_dies_in_its_first_turn_leaves_no_empty_figures(run_fakes: Runs) -> None:
    results = run_fakes({"triton": {"ends_at": 0}})
    assert results["targets"]["triton"]["runs"] == []
    assert len(_tokens(results, "engine")) == 3


def test_run_without_any_target_ends_with_its_problems(run_fakes: Runs) -> None:
    results = run_fakes({name: {"refuses": True} for name in ("engine", "openai", "triton")})
    assert len(results["problems"]) == 3
    assert results["targets"] == {}


# Three rounds of 100 tokens, and the warm-up's.
def test_counter_that_disagrees_with_the_clients_is_a_problem(run_fakes: Runs) -> None:
    assert run_fakes({"triton": {"counts": 400}})["problems"] == []
    (problem,) = run_fakes({"triton": {"counts": 399}})["problems"]
    assert problem == "triton: vllm:generation_tokens_total says 399, the clients got 400"


def test_idle_target_that_burns_cpu_is_a_problem(run_fakes: Runs) -> None:
    (problem,) = run_fakes({"openai": {"idle_cores": 1.0}})["problems"]
    assert problem.startswith("openai, 64 concurrent, one answer: kept ")
    assert "cores busy while others were asked" in problem


def test_idle_targets_that_sleep_are_said_to(run_fakes: Runs) -> None:
    results = run_fakes()
    assert [target["runs"][0]["idle_cpu_share"] for target in results["targets"].values()] == [0, 0, 0]


def test_next_turn_begins_when_the_last_target_is_quiet(
    run_fakes: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SETTLE_WITHIN", 5.0)
    assert run_fakes({"engine": {"spins": 10}})["problems"] == []


def test_results_are_on_disk_after_every_round(run_fakes: Runs, plan: Plan) -> None:
    seen: list[int] = []

    def look(_: str) -> None:
        path = plan.out / "results.json"
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"targets": {}}
        runs = content["targets"].get("engine", {}).get("runs", [])
        seen.append(len(runs[0]["rounds"]["tokens_per_second"]) if runs else 0)

    run_fakes({"engine": {"hears": look}})
    assert seen == [0, 1, 2]


def test_sigterm_stops_all_targets_and_keeps_what_was_measured(
    run_fakes: Runs, log: list[str], plan: Plan
) -> None:
    def end(name: str) -> None:
        if log.count(name) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        run_fakes({"triton": {"hears": end}})
    assert caught.value.code == 143
    assert sorted(log[-3:]) == ["engine stops", "openai stops", "triton stops"]
    results = json.loads((plan.out / "results.json").read_text(encoding="utf-8"))
    assert len(_tokens(results, "triton")) == 1
    assert results["targets"]["engine"]["stop"] == {"seconds": 0.5, "exit_code": 0}


def test_targets_have_ports_of_their_own(plan: Plan) -> None:
    ports = [plan.port_of(name) + place for name in plan.targets for place in range(3)]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize(
    ("share", "in_turns", "fits"),
    [(None, True, False), (0.5, True, False), (0.3, True, True), (None, False, True), (0.9, False, True)],
)
def test_engines_that_do_not_fit_side_by_side_are_refused(
    plan: Plan, share: float | None, in_turns: bool, fits: bool
) -> None:
    arguments = {} if share is None else {"gpu_memory_utilization": share}
    problem = find_memory_problem(replace(plan, engine_args=arguments, in_turns=in_turns))
    assert (problem is None) == fits


def test_share_that_is_proposed_fits(plan: Plan) -> None:
    problem = find_memory_problem(plan)
    share = re.search(r"gpu_memory_utilization=([0-9.]+)", problem or "")
    assert share is not None
    fitting = replace(plan, engine_args={"gpu_memory_utilization": float(share[1])})
    assert find_memory_problem(fitting) is None


def test_work_of_a_plan_is_known_before(plan: Plan) -> None:
    # 3 targets, 2 loads, each with a second to warm up and 3 rounds of 4 s.
    assert replace(plan, modes=(False, True)).seconds_of_load == 3 * 2 * (1 + 3 * 4)
