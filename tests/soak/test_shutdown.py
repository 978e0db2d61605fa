"""SIGTERM under load: what was accepted is finished, what comes later is refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker.models.images import Image

from tests.image.serving import log_tail
from tests.soak.stage import Stage, send_signal, stage, wait_for_exit
from tritonbuild.spec import BuildSpec

# How many of each kind ask at once.
COUNTS = {"http": 24, "grpc": 12, "generate": 12}
# How long this machine shall need for their answers, in seconds: not over at the signal, and well within the
# 30 s for which Triton waits even when the machine turns out half as fast as it was a moment before.
WORK = 10.0
# What they ask for to find out how fast the machine is, and the most that the model can be asked for.
TRIAL_TOKENS, MOST_TOKENS = 200, 1900
# From the signal to the first refusal.
NOTICE = 1.0


def groups(tokens: int) -> list[dict[str, Any]]:
    return [{"api": api, "count": count, "max_tokens": tokens} for api, count in COUNTS.items()]


def find_tokens(stage: Stage) -> int:
    """Return how many tokens each may ask for, so that all of them take `WORK` seconds."""
    crowd = stage.crowd(*groups(TRIAL_TOKENS), patience=90)
    crowd.wait_for("underway", 90)
    talks = crowd.wait_for("result", 90)["talks"]
    seconds = max(talk["ended"] for talk in talks) - min(talk["asked"] for talk in talks)
    return min(MOST_TOKENS, int(TRIAL_TOKENS * WORK / seconds))


def test_accepted_requests_are_finished_and_new_ones_refused(
    image: Image, spec: BuildSpec, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    with stage(image, spec, tmp_path) as found:
        tokens = find_tokens(found)
        newcomers = found.start("newcomers", apis=["http", "grpc", "generate"], seconds=60, patience=30)
        newcomers.wait_for("first", 30)
        crowd = found.crowd(*groups(tokens), patience=90)
        crowd.wait_for("underway", 60)
        sent = send_signal(found.container, "SIGTERM")
        code = wait_for_exit(found.container, 60)
        ended = time.monotonic()
        talks = crowd.wait_for("result", 60)["talks"]
        asked = newcomers.wait_for("result", 90)["asked"]
        last = max(talk["ended"] for talk in talks)
        first = max(talk["first_after"] for talk in talks if talk["api"] != "generate")
        measured(
            f"SIGTERM under load, {tokens} tokens each: last answer after {last - sent:.1f} s, "
            f"end after {ended - sent:.1f} s; the last first token had come after {first:.1f} s"
        )

        kinds = Counter((talk["api"], talk["state"], talk["tokens"], talk["message"]) for talk in talks)
        right = {(api, "complete", tokens, ""): count for api, count in COUNTS.items()}
        assert kinds == right, f"{kinds}\n{log_tail(found.container)}"
        assert sum(talk["ended"] > sent for talk in talks) > len(talks) / 2, (
            f"the load was over by then: first tokens after {sorted((t['first_after'], t['api']) for t in talks)}"
        )
        assert code == 0, log_tail(found.container)

        early = [talk for talk in asked if talk["ended"] < sent]
        late = [talk for talk in asked if talk["begun"] > sent + NOTICE]
        assert early
        assert {talk["state"] for talk in early} == {"complete"}
        assert late
        # Triton itself takes new gRPC requests until the last accepted one has ended, so that sequences can
        # be finished; over HTTP it takes none. Nobody's answer is cut off.
        served = [talk for talk in late if talk["state"] not in ("refused", "error")]
        cut = [talk for talk in served if talk["api"] != "grpc" or talk["state"] != "complete"]
        assert not cut, f"{len(cut)} of {len(late)} were neither refused nor finished: {cut[:5]}"
        refused = {talk["api"] for talk in late if talk not in served}
        assert refused >= {"http", "generate"}
        measured(f"after SIGTERM: {Counter((t['api'], t['state'], t['message']) for t in late)}")
