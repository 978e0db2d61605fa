"""Asking Triton about the clients of all requests, and how often."""

from __future__ import annotations

import threading

from triton_vllm.watching import TURN, Watcher


def test_every_request_is_asked_about_once_in_a_round() -> None:
    asked: list[int] = []

    def check(number: int) -> bool:
        asked.append(number)
        return False

    pauses = list(Watcher(lambda: range(3 * TURN + 1), check).round())
    assert asked == list(range(3 * TURN + 1))
    assert len(pauses) == 4


def test_turns_rest_until_one_finds_somebody_gone() -> None:
    gone = {TURN, 2 * TURN}
    pauses = list(Watcher(lambda: range(4 * TURN), gone.__contains__).round())
    assert [pause > 0 for pause in pauses] == [True, False, False, True]


def test_a_long_check_counts_as_rest() -> None:
    def check(number: int) -> bool:
        threading.Event().wait(0.02)
        return False

    assert list(Watcher(lambda: range(TURN), check).round()) == [0.0]


def test_rounds_go_on_with_those_there_are_until_it_is_stopped() -> None:
    numbers = [1]
    second = threading.Event()

    def check(number: int) -> bool:
        numbers[:] = [2]
        if number == 2:
            second.set()
        return False

    watcher = Watcher(lambda: list(numbers), check)
    watcher.start()
    assert second.wait(5)
    watcher.stop()
    watcher._thread.join(5)
    assert not watcher._thread.is_alive()
