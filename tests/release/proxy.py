"""A proxy in front of a registry that does one thing wrong at one request."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web

Fault = Literal["500", "503", "429", "401", "reset", "cut", "denied", "kill"] | Callable[[], None]
_DROPPED = {"transfer-encoding", "content-length", "connection", "content-encoding"}


@dataclass
class Proxy:
    """Counts requests, and spoils those whose numbers (from 1) are in ``faults``; a function is called before."""

    target: str
    host: str = ""
    faults: dict[int, Fault] = field(default_factory=dict)
    victim: int | None = None
    """The process that ``kill`` ends."""
    seen: list[str] = field(default_factory=list)

    def expect(self, faults: dict[int, Fault]) -> None:
        """Start to count anew."""
        self.seen.clear()
        self.faults = dict(faults)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        fault = self.faults.pop(len(self.seen), None)
        if callable(fault):
            await asyncio.get_running_loop().run_in_executor(None, fault)
        if fault in ("500", "503", "429", "401"):
            code = {"429": "TOOMANYREQUESTS", "401": "UNAUTHORIZED"}.get(fault, "UNKNOWN")
            error = {"code": code, "message": "out of order"}
            return web.json_response({"errors": [error]}, status=int(fault))
        if fault == "denied":
            return web.json_response({"errors": [{"code": "DENIED", "message": "access denied"}]}, status=403)
        if fault == "reset":
            return _hang_up(request)
        if fault == "kill" and self.victim is not None:
            os.kill(self.victim, signal.SIGKILL)
            return _hang_up(request)
        body = await request.read()
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                f"http://{self.target}{request.raw_path}",
                data=body,
                headers={
                    name: value for name, value in request.headers.items() if name.lower() not in _DROPPED
                },
                allow_redirects=False,
            ) as answer,
        ):
            content = await answer.read()
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _DROPPED}
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                headers["Content-Length"] = answer.headers["Content-Length"]
            response = web.StreamResponse(status=answer.status, headers=headers)
            if request.method != "HEAD":
                response.content_length = len(content)
            await response.prepare(request)
            if fault == "cut":
                await response.write(content[: len(content) // 2])
                return _hang_up(request, response)
            await response.write(content)
            await response.write_eof()
            return response


def _hang_up(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


@contextmanager
def running_proxy(target: str) -> Iterator[Proxy]:
    """Serve a proxy of ``target`` (``HOST:PORT``) on the loopback interface as long as this lasts."""
    proxy = Proxy(target)
    loop = asyncio.new_event_loop()
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(application, access_log=None)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        # The engine takes plain HTTP from localhost only.
        proxy.host = f"localhost:{runner.addresses[0][1]}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
