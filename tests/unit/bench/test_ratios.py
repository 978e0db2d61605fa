"""Ratios are made of rounds where targets took turns, and of medians where they did not."""

from __future__ import annotations

from typing import Any

from benchmarks.ratios import Ratio, find_ratio

FIGURE = "tokens_per_second"


def _run(median: float, *rounds: float | None) -> dict[str, Any]:
    return {"median": {FIGURE: median}, "rounds": {FIGURE: list(rounds)}}


def test_ratio_is_the_median_of_the_rounds_ratios_with_its_range() -> None:
    # A machine that gets twice as fast: the medians alone would say 2.0.
    ours, raw = _run(160, 80, 160, 190), _run(80, 100, 200, 200)
    assert find_ratio(ours, raw, FIGURE, paired=True) == Ratio(0.8, 0.8, 0.95)


def test_round_that_only_one_target_saw_has_no_ratio() -> None:
    assert find_ratio(_run(90, 90, None, 50), _run(100, 100, 100), FIGURE, paired=True) == Ratio(
        0.9, 0.9, 0.9
    )


def test_round_without_an_answer_counts() -> None:
    assert find_ratio(_run(90, 90, 0), _run(100, 100, 100), FIGURE, paired=True) == Ratio(0.45, 0, 0.9)


def test_targets_without_a_common_round_have_no_ratio() -> None:
    assert find_ratio(_run(90, None, 90), _run(100, 100), FIGURE, paired=True) is None
    assert find_ratio(_run(90), _run(100, 100), "first_token_p50", paired=True) is None


def test_targets_that_took_no_turns_are_compared_by_their_medians() -> None:
    ratio = find_ratio(_run(90, 60, 95), _run(100, 100, 100), FIGURE, paired=False)
    assert ratio == Ratio(0.9)
    assert str(ratio) == "0.90x"


def test_range_is_shown_beside_the_ratio() -> None:
    assert str(Ratio(0.9, 0.8, 1.05)) == "0.90x, 0.80 to 1.05"
