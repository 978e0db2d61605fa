from __future__ import annotations

import json

from triton_vllm.merging import Sequences, logprobs_json

from .fakes import FakeCompletion, FakeLogprob, FakeOutput, delta


def test_deltas_that_wait_are_joined_and_taken_once() -> None:
    sequences = Sequences(1, keep_logprobs=False)
    sequences.add(delta(" a"))
    sequences.add(delta(" b"))
    part = sequences.take()
    assert part.texts == [" a b"]
    assert part.num_tokens == [2]
    assert part.num_input_tokens == 3
    assert part.reasons == ["None"]
    assert not part.final
    sequences.add(delta(" c", "length"))
    part = sequences.take()
    assert (part.texts, part.num_tokens, part.reasons, part.final) == (
        [" c"],
        [1],
        ["length"],
        True,
    )


def test_sequences_do_not_mix_and_each_response_has_them_all() -> None:
    sequences = Sequences(3, keep_logprobs=False)
    sequences.add(delta("x", index=1))
    sequences.add(delta("y", index=0))
    sequences.add(delta("X", "stop", index=1, finished=False))
    part = sequences.take()
    assert part.texts == ["y", "xX", ""]
    assert part.num_tokens == [1, 2, 0]
    assert part.reasons == ["None", "stop", "None"]
    sequences.add(delta("z", "length", index=2, finished=True))
    # A sequence that ended before keeps its reason and has nothing new.
    assert sequences.take().reasons == ["None", "stop", "length"]


def test_logprobs_are_kept_only_when_wanted() -> None:
    output = FakeOutput([FakeCompletion(0, "a", (5,), -0.5, [{5: FakeLogprob(-0.5)}])])
    for keep, expected in ((True, 2), (False, None)):
        sequences = Sequences(1, keep_logprobs=keep)
        sequences.add(output)
        sequences.add(output)
        (logprobs,) = sequences.take().logprobs
        assert (logprobs if expected is None else len(json.loads(logprobs))) == (expected or "null")


def test_the_cumulative_logprob_is_the_last_one_told() -> None:
    sequences = Sequences(1, keep_logprobs=False)
    for value in (-0.5, -1.5, None):
        sequences.add(FakeOutput([FakeCompletion(0, "a", (5,), value)]))
    assert sequences.take().cumulative == [-1.5]


def test_logprobs_as_json() -> None:
    text = logprobs_json([{5: FakeLogprob(-0.5, 1, " a"), 6: FakeLogprob(float("-inf"), 2, " b")}])
    assert json.loads(text) == [
        {
            "5": {"logprob": -0.5, "rank": 1, "decoded_token": " a"},
            "6": {"logprob": None, "rank": 2, "decoded_token": " b"},
        }
    ]
    assert logprobs_json(None) == "null"


def test_logprobs_of_vllms_that_had_numbers_alone() -> None:
    assert json.loads(logprobs_json([{5: -0.5}])) == [
        {"5": {"logprob": -0.5, "rank": None, "decoded_token": None}}
    ]
