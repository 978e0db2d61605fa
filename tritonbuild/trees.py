"""The file tree of an image, and where two trees differ."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

from tritonbuild.errors import CommandFailed
from tritonbuild.exported import read_parts

# What the package manager knows, to tell a newer package from a build that varies.
KEPT = re.compile(r"var/lib/dpkg/(status|info/[^/]+\.list)")
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "pipe",
}
_XATTR = "SCHILY.xattr."
_REMOVED, _EMPTIED = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Entry:
    """All that a file system keeps about one path, as text."""

    kind: str
    mode: str
    owner: str
    size: int
    time: str
    target: str
    device: str
    xattrs: str
    sha256: str


@dataclass(frozen=True)
class Tree:
    """Paths (without a leading slash) of an image as a container sees it, all layers merged."""

    entries: Mapping[str, Entry]
    texts: Mapping[str, str] = field(default_factory=dict)
    """The content of those files whose path matches ``KEPT``."""


@dataclass(frozen=True, kw_only=True)
class PathDifference:
    """A path that is not the same in two trees: attribute -> (first, second).

    Where only one tree has the path, the only attribute is ``kind``, and None stands for the other.
    """

    path: str
    attributes: Mapping[str, tuple[str | int | None, str | int | None]]


def read_tree(chunks: Iterable[bytes]) -> Tree:
    """Return the tree of an image from its export; files are hashed as they come."""
    layers: dict[str, dict[str, Entry]] = {}
    texts: dict[str, dict[str, str]] = {}
    aliases: dict[str, str] = {}
    order: list[str] | None = None
    for part in read_parts(chunks):
        if part.layer:
            entries, kept = _read_layer(part.layer)
            layers[part.name], texts[part.name] = entries, kept
        elif part.same_as:
            aliases[part.name] = part.same_as
        elif part.name == "manifest.json":
            order = json.loads(part.data or b"")[0]["Layers"]
    if order is None:
        message = "the engine's export of the image has no manifest.json"
        raise CommandFailed(message, hint="compare images that Docker 20.10 or newer exports")
    merged: dict[str, Entry] = {}
    known: dict[str, str] = {}
    for name in order:
        name = aliases.get(name, name)
        _apply(merged, layers[name])
        known |= texts[name]
    return Tree(merged, {path: text for path, text in known.items() if path in merged})


def _read_layer(layer: tarfile.TarFile) -> tuple[dict[str, Entry], dict[str, str]]:
    entries, texts = {}, {}
    for member in layer:
        path = member.name.removeprefix("./").strip("/")
        digest, content = "", layer.extractfile(member) if member.isreg() else None
        if content and KEPT.fullmatch(path):
            data = content.read()
            texts[path] = data.decode(errors="replace")
            digest = hashlib.sha256(data).hexdigest()
        elif content:
            sha256 = hashlib.sha256()
            while block := content.read(1 << 20):
                sha256.update(block)
            digest = sha256.hexdigest()
        entries[path] = _entry(member, digest)
    return entries, texts


def _entry(member: tarfile.TarInfo, sha256: str) -> Entry:
    is_device = member.ischr() or member.isblk()
    xattrs = {name: text for name, text in member.pax_headers.items() if name.startswith(_XATTR)}
    return Entry(
        kind=_KINDS.get(member.type, f"type {member.type!r}"),
        mode=f"{member.mode:04o}",
        owner=f"{member.uid}:{member.gid}",
        size=member.size if member.isreg() else 0,
        time=_time(member.pax_headers.get("mtime", member.mtime)),
        target=member.linkname,
        device=f"{member.devmajor}:{member.devminor}" if is_device else "",
        xattrs=", ".join(f"{name.removeprefix(_XATTR)}={xattrs[name]!r}" for name in sorted(xattrs)),
        sha256=sha256,
    )


def _time(seconds: str | float) -> str:
    """Return a point in time as ISO 8601 in UTC, with all the digits that it came with."""
    whole, _, fraction = str(seconds).partition(".")
    moment = dt.datetime.fromtimestamp(int(whole), dt.timezone.utc)
    fraction = fraction.rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}Z"


def _apply(tree: dict[str, Entry], layer: Mapping[str, Entry]) -> None:
    """Lay a layer over a tree: first what it removes, then what it brings."""
    gone = []
    for path, entry in layer.items():
        folder, slash, name = path.rpartition("/")
        if name == _EMPTIED:
            gone.append(folder + slash)
        elif name.startswith(_REMOVED):
            path = folder + slash + name.removeprefix(_REMOVED)
            tree.pop(path, None)
            gone.append(path + "/")
        elif entry.kind != "folder" and path in tree and tree[path].kind == "folder":
            gone.append(path + "/")
    if gone:
        beginnings = tuple(gone)
        for path in [path for path in tree if path.startswith(beginnings)]:
            del tree[path]
    for path, entry in layer.items():
        if not path.rpartition("/")[2].startswith(_REMOVED):
            tree[path] = entry


def find_differences(first: Tree, second: Tree) -> Iterator[PathDifference]:
    """Yield every path that is not the same in both trees, in the order of their names."""
    for path in sorted({*first.entries, *second.entries}):
        a, b = first.entries.get(path), second.entries.get(path)
        if a is None or b is None:
            kinds = (a.kind if a else None, b.kind if b else None)
            yield PathDifference(path=path, attributes={"kind": kinds})
        elif a != b:
            old, new = asdict(a), asdict(b)
            changed = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
            yield PathDifference(path=path, attributes=changed)
