"""What the engine exports of an image (`docker save`), read as a stream: nothing is stored."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

_GZIP = b"\x1f\x8b"
# Lists of layers and settings are a few kilobytes; an image can hold larger files that are no layers.
_LARGEST_TEXT = 16_000_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of the export, good until the next one is asked for.

    Exactly one of the fields is set besides the name: the entries of a layer, in their order; the
    name of the part that an identical layer points to; or the bytes of anything else.
    """

    name: str
    layer: tarfile.TarFile | None = None
    same_as: str | None = None
    data: bytes | None = None


@contextmanager
def open_export(chunks: Iterable[bytes]) -> Iterator[tarfile.TarFile]:
    """Open an export as the archive that it is, to be read once from front to end."""
    stream = io.BufferedReader(_Chunks(iter(chunks)), 1 << 20)
    with stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        yield archive


def read_parts(chunks: Iterable[bytes]) -> Iterator[Part]:
    """Yield the parts of an export.

    Understands what any engine writes: layers as `ID/layer.tar`, or blobs of an OCI layout, plain
    or with gzip.
    """
    with open_export(chunks) as archive:
        for member in archive:
            if member.issym():
                folder = member.name.rpartition("/")[0]
                yield Part(name=member.name, same_as=_join(folder, member.linkname))
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            blob = _Peekable(content)
            start = blob.peek(512)
            if _is_layer(start):
                with tarfile.open(fileobj=blob, mode="r|*") as layer:  # type: ignore[call-overload]
                    yield Part(name=member.name, layer=layer)
            elif member.size <= _LARGEST_TEXT:
                yield Part(name=member.name, data=blob.read())


def _is_layer(start: bytes) -> bool:
    """Tell by its first bytes whether a part is a layer; one without entries is all zeros."""
    return start[257:262] == b"ustar" or start[:2] == _GZIP or (len(start) == 512 and not start.strip(b"\0"))


def _join(folder: str, link: str) -> str:
    """Return the path that a relative link in ``folder`` points to."""
    parts = folder.split("/") if folder else []
    for word in link.split("/"):
        if word == "..":
            parts.pop()
        elif word != ".":
            parts.append(word)
    return "/".join(parts)


class _Chunks(io.RawIOBase):
    """A readable file over an iterator of byte strings."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _Peekable:
    """Reads a stream, of which the first bytes may be looked at before."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._seen = b""

    def peek(self, size: int) -> bytes:
        self._seen = self._stream.read(size)
        return self._seen

    def read(self, size: int = -1) -> bytes:
        if not self._seen:
            return self._stream.read(size)
        if size < 0 or size > len(self._seen):
            data = self._seen + self._stream.read(size - len(self._seen) if size >= 0 else -1)
            self._seen = b""
        else:
            data, self._seen = self._seen[:size], self._seen[size:]
        return data
