"""Tests of images that are left out where they make no sense, each with its reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.leaving_out import reason_to_leave_out


def item(*fixtures: str, needs: str | None = None) -> Any:
    marks = [SimpleNamespace(args=(needs,))] if needs else []
    return SimpleNamespace(fixturenames=fixtures, iter_markers=lambda _: iter(marks))


@pytest.mark.parametrize(
    ("test", "places"),
    [
        (item("server", "spec"), {"engine", "bundle", "url"}),
        (item("box"), {"engine", "bundle"}),
        (item("server", needs="inside"), {"engine", "bundle"}),
        (item("start", "tmp_path"), {"engine", "bundle"}),
        (item("scan", "image", "engine"), {"engine"}),
        (item("server", needs="engine"), {"engine"}),
    ],
)
def test_a_test_runs_where_there_is_what_it_needs(test: Any, places: set[str]) -> None:
    assert {
        place for place in ("engine", "bundle", "url") if reason_to_leave_out(test, place) is None
    } == places


def test_the_reason_says_what_is_missing() -> None:
    assert "container engine" in str(reason_to_leave_out(item("image", "box"), "bundle"))
    assert "cannot be looked into" in str(reason_to_leave_out(item("box"), "url"))


def test_an_unknown_need_is_a_mistake_of_the_test() -> None:
    with pytest.raises(KeyError):
        reason_to_leave_out(item(needs="magic"), "bundle")
