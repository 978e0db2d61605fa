"""Runs the client processes of one measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.client import PATIENCE
from benchmarks.load import Endpoint, Load, dump
from benchmarks.tally import Tally, merge


class ClientFailure(Exception):
    """A client process ended without a result."""


def measure(load: Load, endpoint: Endpoint, processes: int, realtime: bool = False) -> Tally:
    """Put the load on the endpoint from several processes that start together."""
    count = max(1, min(processes, load.concurrency))
    with ExitStack() as stack:
        clients = [stack.enter_context(_start(realtime)) for _ in range(count)]
        for client in clients:
            stack.callback(client.kill)
        for first, client in enumerate(clients):
            _tell(client, dump(replace(load, first=first, step=count), endpoint))
        for client in clients:
            if _line(client) != "ready":
                msg = "a client could not connect"
                raise ClientFailure(msg)
        for client in clients:
            _tell(client, "go")
        parts = []
        for client in clients:
            output, _ = client.communicate(timeout=load.seconds + 2 * PATIENCE)
            if client.returncode:
                msg = f"a client ended with exit code {client.returncode}"
                raise ClientFailure(msg)
            parts.append(json.loads(output))
    return merge(load.max_tokens, parts)


def _start(realtime: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.client", *(["--realtime"] if realtime else [])]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _tell(client: subprocess.Popen[str], line: str) -> None:
    if client.stdin is not None:
        client.stdin.write(line + "\n")
        client.stdin.flush()


def _line(client: subprocess.Popen[str]) -> str:
    return client.stdout.readline().strip() if client.stdout is not None else ""
