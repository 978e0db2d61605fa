"""Messages over a socket: a length, then a pickle. Both ends are this package, of one version."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import struct
import threading
from typing import Any

_LENGTH = struct.Struct("<Q")
# Room for what the other side has not read yet, in bytes.
BUFFER = 4 << 20


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return pair


def encode(message: Any) -> bytes:
    data = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(data)) + data


class Link:
    """An end for threads."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader = end.makefile("rb", buffering=1 << 16)
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message. Raises OSError when the other side is gone."""
        data = encode(message)
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> Any:
        """Wait for the next message. Raises EOFError when the other side is gone."""
        try:
            return pickle.loads(self._read(_LENGTH.unpack(self._read(_LENGTH.size))[0]))
        except OSError as error:
            raise EOFError(str(error)) from None

    def close(self) -> None:
        """End the conversation; a `receive` that waits raises EOFError."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # Waits for a `receive` on another thread, which the line above ends.
        self._reader.close()
        self._socket.close()

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if data is None or len(data) < size:
            raise EOFError
        return data


class AsyncLink:
    """An end for an asyncio loop. Make one with `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> AsyncLink:
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Any) -> None:
        """Send a message soon; lost when the other side is gone."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def receive(self) -> Any:
        """Wait for the next message. Raises EOFError when the other side is gone."""
        try:
            (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return pickle.loads(await self._reader.readexactly(size))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise EOFError(str(error)) from None

    async def close(self) -> None:
        """End the conversation when all that was sent is on its way."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
