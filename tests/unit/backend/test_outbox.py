from __future__ import annotations

from typing import Any

from triton_vllm.merging import Sequences
from triton_vllm.outbox import Outbox, Outlet
from triton_vllm.requests import Wanted
from triton_vllm.responses import Responses

from .fakes import FINAL, Sender, delta


def make_outlet() -> tuple[Outlet, Sender]:
    sender = Sender()
    return Outlet(sender, Sequences(1, keep_logprobs=False), "", Wanted()), sender


def test_a_stream_waits_in_the_queue_once_however_much_it_has_to_send(pb_utils: Any) -> None:
    outbox = Outbox(Responses(pb_utils), FINAL, pb_utils.Logger.log_warn)
    outlet, sender = make_outlet()
    for number in range(5):
        outbox.put(outlet, delta(f" {number}"))
    assert len(outbox._waiting) == 1
    outbox.start()
    outbox.put(outlet, delta(" 5", "stop"))
    sender.wait()
    outbox.stop(timeout=5)
    assert "".join(response.texts[0] for response in sender.responses) == " 0 1 2 3 4 5"
    assert all(response.texts[0] for response in sender.responses)


def test_a_response_that_cannot_be_sent_does_not_stop_the_others(pb_utils: Any) -> None:
    class Broken(Sender):
        def send(self, response: Any, flags: int = 0) -> None:
            msg = "gone"
            raise RuntimeError(msg)

    outbox = Outbox(Responses(pb_utils), FINAL, pb_utils.Logger.log_warn)
    broken = Outlet(Broken(), Sequences(1, keep_logprobs=False), "", Wanted())
    outlet, sender = make_outlet()
    outbox.put(broken, delta("a", "stop"))
    outbox.put(outlet, delta("b", "stop"))
    outbox.start()
    assert sender.wait()[0].texts == ["b"]
    outbox.stop(timeout=5)
    assert pb_utils.Logger.lines == ["[vllm] a response could not be sent: gone"]


def test_stopping_sends_what_waits(pb_utils: Any) -> None:
    outbox = Outbox(Responses(pb_utils), FINAL, pb_utils.Logger.log_warn)
    outlet, sender = make_outlet()
    outbox.put(outlet, delta("a", "stop"))
    outbox.start()
    outbox.stop(timeout=5)
    assert sender.finished.is_set()
