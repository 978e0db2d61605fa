"""Everything in every layer of an image, read off the engine's export without storing it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from docker.models.images import Image

# Texts that a build could leave behind are small; model weights and libraries are not.
SMALL = 1_000_000
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Entry:
    """A file, folder or link in one layer; ``path`` has no leading slash."""

    layer: str
    path: str
    is_dir: bool
    is_file: bool
    mode: int
    size: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.path} (layer {self.layer[:12]})"


@dataclass
class Scan:
    """What was found in an image."""

    layers: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    hits: dict[str, list[str]] = field(default_factory=dict)
    """Name of a needle -> the places that hold it."""

    @property
    def files(self) -> list[Entry]:
        """All that is no folder, and no mark that a file of an earlier layer is deleted."""
        return [e for e in self.entries if not e.is_dir and not e.name.startswith(".wh.")]


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


def scan_image(image: Image, needles: Mapping[str, tuple[bytes, ...]]) -> Scan:
    """Read all layers and the configuration of ``image``; look for ``needles`` in small files.

    Understands what `docker save` of any engine writes: layers as `ID/layer.tar`, or blobs of an
    OCI layout, compressed or not.
    """
    scan = Scan(hits={name: [] for name in needles})

    def search(data: bytes, place: str) -> None:
        for name, texts in needles.items():
            if any(text in data for text in texts):
                scan.hits[name].append(place)

    stream = io.BufferedReader(_Chunks(image.save(chunk_size=1 << 20)), 1 << 20)
    with stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            blob = _Peekable(content)
            start = blob.peek(512)
            if start[257:262] == b"ustar" or start[:2] == _GZIP:
                layer = member.name.removesuffix("/layer.tar").rpartition("/")[2]
                scan.layers.append(layer)
                for entry, data in _read_layer(blob, layer):
                    scan.entries.append(entry)
                    if data is not None:
                        search(data, str(entry))
            elif member.size < SMALL:
                search(json.dumps(_decode(blob.read())).encode(), member.name)
    return scan


def _decode(data: bytes) -> str:
    return data.decode(errors="replace")


def _read_layer(blob: _Peekable, layer: str) -> Iterator[tuple[Entry, bytes | None]]:
    with tarfile.open(fileobj=blob, mode="r|*") as archive:  # type: ignore[call-overload]
        for member in archive:
            entry = Entry(
                layer,
                member.name.removeprefix("./"),
                member.isdir(),
                member.isreg(),
                member.mode,
                member.size,
            )
            content = archive.extractfile(member) if member.isreg() and member.size <= SMALL else None
            yield entry, content.read() if content else None


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
