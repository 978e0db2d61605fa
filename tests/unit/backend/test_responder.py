from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from triton_vllm.messages import Failure, Part
from triton_vllm.requests import Wanted
from triton_vllm.responder import Active, Lane, Responder

from .fakes import FINAL, Sender


def part(text: str, final: bool) -> Part:
    return Part([text], [1], ["null"], [None], ["stop" if final else "None"], 3, final)


def test_a_response_that_cannot_be_sent_is_told_and_raises_nothing(pb_utils: Any) -> None:
    class Broken(Sender):
        def send(self, response: Any, flags: int = 0) -> None:
            msg = "gone"
            raise RuntimeError(msg)

    responder = Responder(pb_utils, pb_utils.Logger.log_warn)
    responder.send(Active(Broken(), "", Wanted()), part("a", True), final=True)
    assert pb_utils.Logger.lines == ["[vllm] a response could not be sent: gone"]


def test_only_the_last_response_has_the_final_flag(pb_utils: Any) -> None:
    sender = Sender()
    responder = Responder(pb_utils, pb_utils.Logger.log_warn)
    active = Active(sender, "", Wanted())
    responder.send(active, part("a", False), final=False)
    responder.send(active, Failure("CANCELLED", "the request was cancelled"), final=True)
    assert sender.flags == [0, FINAL]
    assert (sender.responses[1].error.code, sender.responses[1].texts) == ("CANCELLED", ["N/A"])


def test_a_lane_delivers_in_order_and_asks_for_more_after_each_batch() -> None:
    events: list[Any] = []
    asked = threading.Semaphore(0)

    def deliver(number: int, result: Part | Failure) -> None:
        events.append((number, result))

    def on_done(lane: int) -> None:
        events.append(lane)
        asked.release()

    lane = Lane(7, deliver, on_done)
    lane.start()
    first: Sequence[tuple[int, Part]] = [(1, part("a", True)), (2, part("b", True))]
    second: Sequence[tuple[int, Part]] = [(3, part("c", True))]
    lane.put(first)
    lane.put(second)
    assert asked.acquire(timeout=5)
    assert asked.acquire(timeout=5)
    assert events == [*first, 7, *second, 7]


def test_stopping_a_lane_sends_what_waits() -> None:
    delivered: list[int] = []

    def deliver(number: int, result: Part | Failure) -> None:
        delivered.append(number)

    lane = Lane(0, deliver, lambda _: None)
    for number in range(3):
        lane.put([(number, part("a", True))])
    lane.start()
    lane.stop(timeout=5)
    assert delivered == [0, 1, 2]


def test_triton_is_never_asked_about_a_request_that_has_its_last_response() -> None:
    class Slow(Sender):
        def is_cancelled(self) -> bool:
            asking.set()
            time.sleep(0.05)
            answers.append(active.closed)
            return False

    asking, answers = threading.Event(), list[bool]()
    active = Active(Slow(), "", Wanted())
    thread = threading.Thread(target=active.is_cancelled)
    thread.start()
    assert asking.wait(5)
    active.close()
    thread.join(5)
    assert answers == [False]
    assert not active.is_cancelled()
    assert answers == [False]
