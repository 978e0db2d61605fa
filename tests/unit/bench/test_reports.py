"""What a reader sees of results, new and old."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import write_report
from tests.unit.bench.conftest import Runs

RESULTS = sorted((Path(__file__).parents[3] / "benchmarks/results").glob("*.json"))


def _report(results: dict[str, Any], folder: Path) -> str:
    write_report(folder / "results.json", results, plot=False)
    return (folder / "results.md").read_text(encoding="utf-8")


def _row(text: str, label: str) -> list[str]:
    return next([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if label in line)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_report_of_committed_results_is_what_they_say(path: Path, tmp_path: Path) -> None:
    text = _report(json.loads(path.read_text(encoding="utf-8")), tmp_path)
    committed = path.with_suffix(".md").read_text(encoding="utf-8")
    # Only a report with a plot shows it.
    assert text == committed.replace(f"![Throughput and first token]({path.stem}.svg)\n\n", "")


def test_report_shows_the_ratio_with_the_range_of_its_rounds(run_fakes: Runs, tmp_path: Path) -> None:
    fakes = {"engine": {"speeds": (100.0, 200.0, 400.0)}, "triton": {"speeds": (80.0, 180.0, 400.0)}}
    text = _report(run_fakes(fakes), tmp_path)
    assert _row(text, "Triton, our backend, generate")[1] == "180 (0.90x, 0.80 to 1.00)"
    assert _row(text, "raw AsyncLLM, final only")[1] == "200"
    assert "3 rounds" in text


def test_report_compares_our_backend_to_the_other_servers(run_fakes: Runs, tmp_path: Path) -> None:
    text = _report(run_fakes({"openai": {"speeds": (500.0,)}}), tmp_path)
    assert _row(text, "Triton, our backend, generate / vLLM's OpenAI server")[1] == "2.00x, 2.00 to 2.00"


def test_report_of_one_target_at_a_time_compares_medians(run_fakes: Runs, tmp_path: Path) -> None:
    text = _report(run_fakes({"triton": {"speeds": (500.0,)}}, in_turns=False), tmp_path)
    assert _row(text, "Triton, our backend, generate")[1] == "500 (0.50x)"


def test_report_of_a_run_that_was_killed_shows_what_is_there(run_fakes: Runs, tmp_path: Path) -> None:
    results = run_fakes()
    for target in results["targets"].values():
        del target["stop"], target["observed"]
    assert _row(_report(results, tmp_path), "Triton, our backend, generate")[1].startswith("1,000 ")


def test_report_names_the_problems(run_fakes: Runs, tmp_path: Path) -> None:
    text = _report(run_fakes({"openai": {"ends_at": 1}}), tmp_path)
    assert "- openai: ended with exit code 1" in text.splitlines()
