from __future__ import annotations

import pytest

from tritonbuild.errors import NothingSelected, UsageError
from tritonbuild.identifiers import (
    BuildId,
    check_release,
    did_you_mean,
    leave_out,
    nearest,
    select,
    select_all,
)

ROWS = [
    BuildId("24.10", "cpu", "pypi"),
    BuildId("24.08", "cuda", "pypi"),
    BuildId("24.08", "cpu", "pypi"),
]


def test_a_row_reads_as_release_variant_source() -> None:
    assert str(BuildId("24.08", "cpu", "pypi")) == "24.08-cpu-pypi"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("24.08-cpu-pypi", ["24.08-cpu-pypi"]),
        ("24.*-cpu-*", ["24.08-cpu-pypi", "24.10-cpu-pypi"]),
        ("*", ["24.08-cpu-pypi", "24.08-cuda-pypi", "24.10-cpu-pypi"]),
        ("24.[01]8-*", ["24.08-cpu-pypi", "24.08-cuda-pypi"]),
    ],
)
def test_select_returns_matching_rows_in_order(pattern: str, expected: list[str]) -> None:
    assert [str(row) for row in select(pattern, ROWS)] == expected


def test_select_names_the_nearest_row_when_nothing_matches() -> None:
    with pytest.raises(NothingSelected) as failure:
        select("24.08-cpu-pipy", ROWS)
    assert "did you mean '24.08-cpu-pypi'?" in str(failure.value.hint)


def test_select_names_a_few_rows_where_there_are_hundreds() -> None:
    many = [BuildId(f"2{year}.{month:02}", "cpu", "pypi") for year in range(3, 10) for month in range(1, 13)]
    with pytest.raises(NothingSelected) as failure:
        select("24.8-cpu-pypi", many)
    hint = str(failure.value.hint)
    assert "did you mean '24.08-cpu-pypi'?" in hint
    assert "build.py list" in hint
    assert len(hint) < 150


def test_what_several_patterns_select_is_named_once_in_their_order() -> None:
    rows = select_all(["24.10-*", "24.*-cpu-pypi"], ROWS)
    assert rows[0].release == "24.10"
    assert len(rows) == len(set(rows))
    assert set(select("24.*-cpu-pypi", ROWS)) <= set(rows)


def test_every_pattern_must_select_something() -> None:
    with pytest.raises(NothingSelected, match=r"matches '25\.\*'"):
        select_all(["24.*", "25.*"], ROWS)


def test_rows_are_left_out_and_patterns_without_effect_are_told() -> None:
    rows = sorted(ROWS)
    kept, unused = leave_out(["*-cuda-*", "24.08-cuda-*", "25.*"], rows)
    assert kept == [row for row in rows if row.variant != "cuda"]
    assert unused == ["25.*"]  # the second one matches, though the first one matches the same
    assert leave_out([], rows) == (rows, [])


def test_check_release_returns_a_known_release() -> None:
    assert check_release("24.08", flag="--x", known=["24.08"]) == "24.08"


@pytest.mark.parametrize(
    "value", ["24.8", "24.13", "24.00", "2408", "24.08 ", " 24.08", "24.08\n", "14.08", ""]
)
def test_check_release_refuses_another_form(value: str) -> None:
    with pytest.raises(UsageError, match=r"not a release of the form YY\.MM"):
        check_release(value, flag="--x", known=["24.08", "24.10"])


def test_check_release_pads_a_short_month_in_its_hint() -> None:
    with pytest.raises(UsageError) as failure:
        check_release("24.8", flag="--x", known=["24.08"])
    assert str(failure.value.hint).endswith(": 24.08")


def test_a_long_list_of_the_known_is_cut() -> None:
    hint = did_you_mean("w7", [f"w{i}" for i in range(100)])
    assert hint.startswith("did you mean 'w7'? known: w0, w1, ")
    assert hint.endswith(" and 80 more")
    assert len(hint) < 200


def test_check_release_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as failure:
        check_release("23.10", flag="--x", known=["24.10", "24.08"])
    assert failure.value.hint == "the closest is 24.08; known: 24.08, 24.10"


def test_nearest_needs_some_likeness() -> None:
    assert nearest("htp", ["http", "grpc"]) == "http"
    assert nearest("zzz", ["http", "grpc"]) is None
    assert did_you_mean("zzz", ["http", "grpc"]) == "known: grpc, http"
