"""A lean HTTP/1.1 client connection: one request at a time, answers decoded as they arrive.

Written on asyncio's protocols: a full client library costs more per streamed message than the
servers that are measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Consumer = Callable[[bytes], None]


class HttpError(Exception):
    """The server answered with something other than 200."""


class Connection(asyncio.Protocol):
    """A kept-alive connection; `ask` sends a request and waits for the end of its answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._consume: Consumer | None = None
        self._done: asyncio.Future[None] | None = None
        self._in_body = False
        self._chunked = False
        self._status = 0
        self._left = 0
        self._refusal = b""

    async def ask(self, head: bytes, body: bytes, consume: Consumer) -> None:
        """Send a request; `consume` gets pieces of the body. Raises HttpError or OSError."""
        if self._transport is None or self._transport.is_closing():
            msg = "the connection is closed"
            raise ConnectionError(msg)
        self._consume, self._buffer, self._in_body, self._refusal = consume, b"", False, b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await self._done
        if self._status != 200:
            msg = f"HTTP {self._status}: {self._refusal[:200].decode(errors='replace')}"
            raise HttpError(msg)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (narrows the type)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._in_body and not self._read_head():
            return
        if self._chunked:
            self._read_chunks()
        else:
            self._read_plain()

    def _read_head(self) -> bool:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        lines = head.lower().split(b"\r\n")
        self._status = int(lines[0].split(b" ")[1])
        fields = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
        self._chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        self._left = int(fields.get(b"content-length", b"0"))
        self._buffer, self._in_body = rest, True
        return True

    def _read_plain(self) -> None:
        piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(piece)
        self._deliver(piece)
        if not self._left:
            self._finish()

    def _read_chunks(self) -> None:
        buffer, position = self._buffer, 0
        while True:
            end = buffer.find(b"\r\n", position)
            if end < 0:
                break
            size = int(buffer[position:end], 16)
            start, after = end + 2, end + 4 + size
            if len(buffer) < after:
                break
            position = after
            if not size:
                self._buffer = b""
                self._finish()
                return
            self._deliver(buffer[start : start + size])
        self._buffer = buffer[position:]

    def _deliver(self, piece: bytes) -> None:
        if self._status != 200:
            self._refusal += piece
        elif piece and self._consume is not None:
            self._consume(piece)

    def _finish(self) -> None:
        self._in_body = False
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


async def connect(port: int) -> Connection:
    """Open a connection to a server on this machine."""
    _, protocol = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return protocol
