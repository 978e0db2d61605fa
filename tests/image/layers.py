"""Everything in every layer of an image, read off the engine's export without storing it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from docker.models.images import Image

from tritonbuild.exported import read_parts

# Texts that a build could leave behind are small; model weights and libraries are not.
SMALL = 1_000_000


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


def scan_image(image: Image, needles: Mapping[str, tuple[bytes, ...]]) -> Scan:
    """Read all layers and the configuration of ``image``; look for ``needles`` in small files."""
    scan = Scan(hits={name: [] for name in needles})

    def search(data: bytes, place: str) -> None:
        for name, texts in needles.items():
            if any(text in data for text in texts):
                scan.hits[name].append(place)

    for part in read_parts(image.save(chunk_size=1 << 20)):
        if part.layer:
            name = part.name.removesuffix("/layer.tar").rpartition("/")[2]
            scan.layers.append(name)
            for entry, data in _read_layer(part.layer, name):
                scan.entries.append(entry)
                if data is not None:
                    search(data, str(entry))
        elif part.data is not None and len(part.data) < SMALL:
            search(json.dumps(part.data.decode(errors="replace")).encode(), part.name)
    return scan


def _read_layer(archive: tarfile.TarFile, layer: str) -> Iterator[tuple[Entry, bytes | None]]:
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
