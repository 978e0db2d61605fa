"""Turns between processes, with real lock files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tritonbuild import turns
from tritonbuild.turns import Turn, alone


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(turns, "_SHARED", tmp_path)
    monkeypatch.setattr(turns, "_PAUSE", 0.001)
    return tmp_path


@pytest.mark.parametrize("places", [1, 3])
def test_there_are_as_many_turns_as_places(places: int) -> None:
    held = [Turn("smoke", places=places) for _ in range(places)]
    assert [turn.take() for turn in held] == [True] * places
    late = Turn("smoke", places=places)
    assert not late.take()
    held[-1].give_back()
    assert late.take()


def test_who_allows_fewer_at_once_waits_for_those_who_allow_more() -> None:
    first, second = Turn("smoke", places=2), Turn("smoke", places=2)
    assert first.take()
    assert second.take()
    careful = Turn("smoke", places=1)
    assert not careful.take()
    first.give_back()
    assert careful.take()


def test_turns_of_other_names_are_other_turns() -> None:
    assert Turn("smoke").take()
    assert Turn("base").take()


def test_waiting_ends_with_the_turn_of_the_other() -> None:
    other = Turn("base")
    other.take()
    waits: list[int] = []

    def check() -> None:
        waits.append(1)
        if len(waits) == 3:
            other.give_back()

    with alone("base", check) as somebody_did:
        assert somebody_did
        assert not Turn("base").take()
    assert len(waits) == 3
    with alone("base", check) as somebody_did:
        assert not somebody_did


def test_who_waits_can_be_interrupted() -> None:
    other = Turn("base")
    other.take()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), alone("base", interrupt):
        pytest.fail("the turn of another was taken")


def test_a_failure_gives_the_turn_back() -> None:
    with pytest.raises(ZeroDivisionError), alone("base", lambda: None):
        raise ZeroDivisionError
    assert Turn("base").take()


def test_a_file_of_another_user_will_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the sticky bit only its owner may open a file with O_CREAT."""
    assert Turn("smoke").take()
    really_open = os.open

    def guarded(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(path)
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", guarded)
    assert Turn("smoke", places=1).take() is False


def test_without_a_shared_folder_the_temporary_one_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(turns, "_SHARED", tmp_path / "absent")
    monkeypatch.setattr(turns.tempfile, "gettempdir", lambda: str(tmp_path))
    assert Turn("smoke").take()
    assert (tmp_path / "tritonbuild-smoke-0.lock").exists()
