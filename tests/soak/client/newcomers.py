"""`python -m tests.soak.client.newcomers PLAN`: one short new request after another.

Prints `first` after the first answer and ends with `result` when the time is up, or when nobody
has listened for a while.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from benchmarks.wire import connect
from tests.soak.client.talk import GRPC, HTTP, REFUSED, Talk, tell

PAUSE = 0.1
# Refused connections in a row after which the server counts as gone.
REFUSALS = 20


async def ask(plan: dict[str, Any], api: str) -> Talk:
    talk = Talk(api, plan["model"], "w00010 w00011", 1, plan["patience"])

    async def go_on() -> None:
        return

    try:
        # A gRPC channel would try again for ever.
        (await connect(GRPC if api == "grpc" else HTTP)).close()
    except OSError:
        talk.state, talk.ended = REFUSED, time.monotonic()
    else:
        await talk.hold(go_on)
    return talk


async def run(plan: dict[str, Any]) -> None:
    asked: list[dict[str, Any]] = []
    refusals = 0
    until = time.monotonic() + plan["seconds"]
    while time.monotonic() < until and refusals < REFUSALS:
        begun = time.monotonic()
        talk = await ask(plan, plan["apis"][len(asked) % len(plan["apis"])])
        asked.append({**talk.as_record(), "begun": begun})
        if len(asked) == 1:
            tell("first")
        refusals = refusals + 1 if talk.state == REFUSED else 0
        await asyncio.sleep(PAUSE)
    tell("result", asked=asked)


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
