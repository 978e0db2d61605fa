from __future__ import annotations

from triton_vllm.engines.deltas import Deltas

from .fakes import FakeCompletion, FakeLogprob, FakeOutput


def test_outputs_of_everything_so_far_become_what_is_new() -> None:
    deltas = Deltas()
    logprobs = [{1: FakeLogprob(-1.0)}, {2: FakeLogprob(-2.0)}]
    deltas.next(FakeOutput([FakeCompletion(0, "a", (1,), -1.0, logprobs[:1]), FakeCompletion(1, "x", (9,))]))
    output = deltas.next(
        FakeOutput(
            [
                FakeCompletion(0, "a b", (1, 2), -3.0, logprobs, "stop"),
                FakeCompletion(1, "xyz", (9, 8, 7)),
            ],
            True,
        )
    )
    first, second = output.outputs
    assert (first.text, first.token_ids, first.logprobs) == (" b", (2,), logprobs[1:])
    assert (first.cumulative_logprob, first.finish_reason) == (-3.0, "stop")
    assert (second.text, second.token_ids) == ("yz", (8, 7))
    assert output.finished


def test_a_stop_string_that_is_cut_off_takes_nothing_back() -> None:
    deltas = Deltas()
    deltas.next(FakeOutput([FakeCompletion(0, "abc", (1, 2))]))
    assert deltas.next(FakeOutput([FakeCompletion(0, "ab", (1, 2, 3))])).outputs[0].text == ""
    assert deltas.next(FakeOutput([FakeCompletion(0, "abcd", (1, 2, 3, 4))])).outputs[0].text == "d"
