"""What a registry would hold of an image: each layer as gzip, measured without a registry."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from docker.models.images import Image
from zlib_ng import zlib_ng

from tritonbuild.console import Console, Step
from tritonbuild.engine import export_image, find_image
from tritonbuild.errors import CommandFailed, UsageError
from tritonbuild.exported import open_export
from tritonbuild.files import write_atomic
from tritonbuild.host import ensure_engine
from tritonbuild.layers import Layers, listed
from tritonbuild.records import compressed_file, row_folder, update_record
from tritonbuild.spec import BuildSpec

# Blocks are compressed side by side, as pigz does; that costs less than 0.1% of the size.
_BLOCK = 8 << 20
# What gzip and docker push take where nothing is said. zlib-ng is three times as fast as zlib, and what it
# makes was the same to 3% larger: of libtorch_cpu.so 32.4% instead of 31.4%, of torch's Python 21.3 and 21.2%.
_LEVEL = 6
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MARK = b"\x1f\x8b"
# No two layers as large as this have the same bytes by chance.
_SURE = 16 << 20


@dataclass
class _Known:
    """Layers that were measured before, on file: diff-id -> (bytes, bytes as gzip)."""

    file: Path
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> _Known:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls(file, {diff_id: (int(size), int(packed)) for diff_id, (size, packed) in found.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(file)

    def add(self, diff_id: str, size: int, packed: int) -> None:
        self.sizes = {**_Known.load(self.file).sizes, **self.sizes, diff_id: (size, packed)}
        write_atomic(self.file, json.dumps(self.sizes, indent=1, sort_keys=True) + "\n")


def measure_row(spec: BuildSpec, image_id: str, build_dir: Path | None, console: Console) -> Layers:
    """Measure the image of a row; add what its layers take to the row's record, and return it."""
    with console.step("compress", f"{spec.name}: compress the layers") as step:
        image = find_image(ensure_engine(step), image_id)
        if image is None:
            message = f"{spec.name}: the engine no longer has the image {image_id}"
            raise UsageError(message, hint=f"build it again: ./build.py build {spec.row}")
        layers = measure_compressed(image, compressed_file(build_dir), step)
        step.outcome = f"{sum(layers.values()) / 1e6:.0f} MB in a registry"
    update_record(row_folder(spec.name, build_dir), compressed=listed(layers))
    return layers


def measure_compressed(image: Image, cache: Path, step: Step) -> Layers:
    """Return the bytes of each layer of a local image as gzip makes them.

    ``cache`` remembers layers by their diff-id, so that each is compressed once, whatever image has it.
    """
    wanted: list[str] = list(dict.fromkeys(image.attrs["RootFS"]["Layers"]))
    known = _Known.load(cache)
    # The second time nothing is passed over because of its size alone.
    for trust_sizes in (True, False):
        if all(diff_id in known.sizes for diff_id in wanted):
            break
        _measure(image, set(wanted), known, step, trust_sizes=trust_sizes)
    missing = [diff_id for diff_id in wanted if diff_id not in known.sizes]
    if missing:
        message = f"the engine exports {len(missing)} layers of {image.id} in a form that cannot be measured"
        raise CommandFailed(message, hint="push the image and ask the registry for the sizes in its manifest")
    return {diff_id: known.sizes[diff_id][1] for diff_id in wanted}


def _measure(image: Image, wanted: set[str], known: _Known, step: Step, *, trust_sizes: bool) -> None:
    """Read the image as `docker save` writes it, whatever its form: a layer is what has a wanted digest."""
    done = {known.sizes[diff_id][0] for diff_id in wanted if diff_id in known.sizes}
    chunks = export_image(image)
    with ThreadPoolExecutor(os.cpu_count()) as pool, open_export(chunks) as archive:
        for member in archive:
            step.children.check()
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or (trust_sizes and member.size >= _SURE and member.size in done):
                continue
            step.note(f"compressing {member.name}, {member.size / 1e6:.0f} MB")
            diff_id, size, packed = _compress(content, member.size, pool)
            if diff_id in wanted:
                known.add(diff_id, size, packed)


def _compress(content: IO[bytes], stored: int, pool: ThreadPoolExecutor) -> tuple[str, int, int]:
    """Return digest and bytes of a layer, and its bytes as gzip; ``stored`` are the bytes it has here."""
    digest = hashlib.sha256()
    size, packed = 0, 0
    work: deque[Future[int]] = deque()
    unpacker = None
    while raw := content.read(_BLOCK):
        if size == 0 and raw[:2] == _GZIP_MARK:
            unpacker = zlib.decompressobj(_GZIP)  # as a registry holds it: only its diff-id is wanted
        block = unpacker.decompress(raw) if unpacker else raw
        digest.update(block)
        size += len(block)
        if not unpacker:
            work.append(pool.submit(_gzip_size, block))
        while len(work) > 2 * (os.cpu_count() or 1):
            packed += work.popleft().result()
    packed += sum(future.result() for future in work)
    return f"sha256:{digest.hexdigest()}", size, stored if unpacker else packed


def _gzip_size(block: bytes) -> int:
    packer = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, _GZIP)
    return len(packer.compress(block)) + len(packer.flush())
