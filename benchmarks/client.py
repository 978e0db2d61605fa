"""The client process: `python -m benchmarks.client`, told what to do on its standard input.

It writes `ready` once connected, starts on the line `go` and writes its answers as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable

from benchmarks import load as loads
from benchmarks.apis import APIS, request_body, request_head
from benchmarks.load import Endpoint, Load
from benchmarks.prompts import make_prompt
from benchmarks.tally import Answer, Tally
from benchmarks.wire import Connection, connect

# A request that takes longer has failed.
PATIENCE = 180.0


class Reader:
    """Turns pieces of a body into messages and counts their tokens."""

    def __init__(self, endpoint: Endpoint, load: Load, answer: Answer) -> None:
        self._read: Callable[[dict[str, object], str], int] = APIS[endpoint.api].read
        self._counting, self._stream = load.counting, load.stream
        self._answer = answer
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        self._rest += piece
        if self._stream:
            *events, self._rest = self._rest.split(b"\n\n")
            for event in events:
                self._event(event)

    def end(self) -> None:
        if self._stream:
            if self._rest.strip():
                self._event(self._rest)
        else:
            self._answer.message(time.monotonic(), self._read(json.loads(self._rest), self._counting))

    def _event(self, event: bytes) -> None:
        data = event.strip()[5:].strip()
        if data and data != b"[DONE]":
            tokens = self._read(json.loads(data), self._counting)
            self._answer.message(time.monotonic(), tokens)


async def ask(connection: Connection, endpoint: Endpoint, load: Load, prompt: str) -> Answer:
    """Ask once; an error is part of the answer."""
    body = request_body(endpoint, load, prompt)
    answer = Answer(begun=time.monotonic())
    reader = Reader(endpoint, load, answer)
    try:
        head = request_head(endpoint, load.stream)
        await asyncio.wait_for(connection.ask(head, body, reader.feed), PATIENCE)
        reader.end()
    except Exception as error:
        answer.error = f"{type(error).__name__}: {error}"[:300]
        answer.last = time.monotonic()
    return answer


async def work(
    endpoint: Endpoint, load: Load, worker: int, connection: Connection, until: float
) -> list[Answer]:
    """Be one stream of the load."""
    answers: list[Answer] = []
    while time.monotonic() < until:
        prompt = make_prompt(load.counting, load.seed, worker, len(answers))
        answer = await ask(connection, endpoint, load, prompt)
        answers.append(answer)
        if answer.error:
            # Not at once again: a server in trouble would be asked thousands of times.
            await asyncio.sleep(0.5)
            connection.close()
            connection = await connect(endpoint.port)
    connection.close()
    return answers


async def run(load: Load, endpoint: Endpoint) -> Tally:
    """Connect, wait for the word, and put the load on the server."""
    connections = [await connect(endpoint.port) for _ in load.workers]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    until = time.monotonic() + load.seconds
    pairs = zip(load.workers, connections, strict=True)
    works = [work(endpoint, load, worker, connection, until) for worker, connection in pairs]
    results = await asyncio.gather(*works)
    return Tally(load.max_tokens, [answer for answers in results for answer in answers])


def main(arguments: list[str]) -> int:
    if "--realtime" in arguments:
        # Where an engine fills all the cores, a client that waits its turn looks like a slow server.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    load, endpoint = loads.parse(sys.stdin.readline())
    # A collection in the middle would look like a slow server.
    gc.disable()
    tally = asyncio.run(run(load, endpoint))
    sys.stdout.write(json.dumps(tally.dump()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
