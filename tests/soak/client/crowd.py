"""`python -m tests.soak.client.crowd PLAN`: many requests at once, some of which hang up mid-way.

Prints `underway` when every stream has its first token, and `result` with what came of each.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import sys
from typing import Any

from benchmarks.prompts import make_prompt
from benchmarks.wire import connect
from tests.soak.client.talk import METRICS, Talk, tell

LEVELS = re.compile(r"^vllm:num_requests_(running|waiting)\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)
# Connections opened at a time: more than the server's backlog would be dropped and tried again.
OPENING = 64


def make_talks(plan: dict[str, Any]) -> list[Talk]:
    chance = random.Random(plan["seed"])
    talks = []
    for group in plan["groups"]:
        for _ in range(group["count"]):
            limits = group.get("drop")
            talks.append(
                Talk(
                    api=group["api"],
                    model=plan["model"],
                    prompt=make_prompt("words", plan["seed"], len(talks), 0),
                    max_tokens=group["max_tokens"],
                    patience=group.get("patience", plan["patience"]),
                    drop_after=chance.randint(*limits) if limits else None,
                )
            )
    chance.shuffle(talks)
    return talks


class Gate:
    """Lets all through when all have come, or have failed on the way."""

    def __init__(self, number: int) -> None:
        self._missing = number
        self._open = asyncio.Event()
        self._slots = asyncio.Semaphore(OPENING)

    async def enter(self, talk: Talk) -> None:
        arrived = False

        async def arrive() -> None:
            nonlocal arrived
            arrived = True
            self._slots.release()
            self._count()
            await self._open.wait()

        await self._slots.acquire()
        await talk.hold(arrive)
        if not arrived:
            self._slots.release()
            self._count()

    def _count(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._open.set()


async def watch_levels(peak: list[float]) -> None:
    """Remember how many requests the engine had at most."""
    while True:
        page = bytearray()
        try:
            connection = await connect(METRICS)
            head = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            await connection.ask(head, b"", page.extend)
            connection.close()
        except Exception:
            return
        peak.append(sum(float(value) for _, value in LEVELS.findall(page.decode())))
        await asyncio.sleep(1)


async def run(plan: dict[str, Any]) -> None:
    talks = make_talks(plan)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    peak = [0.0]
    watcher = asyncio.create_task(watch_levels(peak))
    gate = Gate(len(talks))
    tasks = [asyncio.create_task(gate.enter(talk)) for talk in talks]
    for talk in talks:
        # A plain request says nothing before its end.
        if talk.api != "generate":
            await talk.first.wait()
    tell("underway")
    await asyncio.gather(*tasks)
    watcher.cancel()
    tell("result", talks=[talk.as_record() for talk in talks], peak=max(peak))


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
