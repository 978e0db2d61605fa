"""Ten thousand requests that are wrong in some way: each is told so, and harms nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.soak.stage import ARGUMENTS, Stage

COUNT = 10_000
WORKERS = 32
SEED = 20_240_831


def test_each_gets_an_error_and_a_good_one_an_answer(shared: Stage, measured: Callable[[str], None]) -> None:
    before = shared.table()
    begun = time.monotonic()
    program = shared.start(
        "bombard",
        count=COUNT,
        workers=WORKERS,
        seed=SEED,
        context=ARGUMENTS["max_model_len"],
        patience=60,
    )
    result = program.wait_for("result", 400)
    measured(
        f"{result['sent']} malformed requests of {len(result['kinds'])} kinds in "
        f"{time.monotonic() - begun:.0f} s, the slowest answer after {result['slowest']:.2f} s"
    )
    shown = "\n".join(json.dumps(request, ensure_ascii=False) for request in result["wrong"])
    assert not result["wrong"], f"not refused (requests of seed {SEED} by number):\n{shown}"
    assert result["sent"] == COUNT
    after = shared.table()
    assert after.server.identity == before.server.identity
    assert after.stub.identity == before.stub.identity
    assert after.engine.identity == before.engine.identity
    shared.assert_answers()
    shared.wait_until_idle()
