"""Layers as a registry would hold them, from images in the forms in which engines export them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritonbuild import compressing
from tritonbuild.compressing import measure_compressed, measure_row
from tritonbuild.console import Console
from tritonbuild.errors import CommandFailed, UsageError
from tritonbuild.records import read_record
from tritonbuild.spec import BuildSpec


def _tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


NOISE = _tar({"weights": random.Random(1).randbytes(300_000)})
WORDS = [f"{number * 7919:x}" for number in range(500)]
TEXT = _tar({"module.py": " ".join(random.Random(2).choices(WORDS, k=60_000)).encode()})
OTHER = _tar({"image.json": b"another release\n" * 20_000})


class Image:
    """An image of some layers, exported as Docker's own store does it; counts the exports."""

    id = "sha256:image"

    def __init__(self, *layers: bytes, extra: Mapping[str, bytes] | None = None) -> None:
        self.attrs = {"RootFS": {"Layers": [_digest(layer) for layer in layers]}}
        self.parts = {f"{n}/layer.tar": layer for n, layer in enumerate(layers)} | {
            "manifest.json": b"[]",
            **(extra or {}),
        }
        self.exports = 0

    def save(self, *, chunk_size: int) -> Iterator[bytes]:
        self.exports += 1
        data = _tar(self.parts)
        return (data[start : start + 10_000] for start in range(0, len(data), 10_000))


@pytest.fixture
def measure(tmp_path: Path, step: Any) -> Any:
    return lambda image: measure_compressed(image, tmp_path / "compressed.json", step)


def test_a_layer_takes_what_gzip_makes_of_it(measure: Any) -> None:
    sizes = measure(Image(NOISE, TEXT))
    assert list(sizes) == [_digest(NOISE), _digest(TEXT)]
    for layer in (NOISE, TEXT):
        assert sizes[_digest(layer)] == pytest.approx(len(gzip.compress(layer, 6)), rel=0.05)
    assert sizes[_digest(TEXT)] < len(TEXT) / 2


def test_large_layers_are_compressed_in_blocks(measure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressing, "_BLOCK", 50_000)
    sizes = measure(Image(NOISE))
    assert sizes[_digest(NOISE)] == pytest.approx(len(gzip.compress(NOISE, 6)), rel=0.01)


def test_layers_that_are_exported_compressed_are_taken_as_they_are(measure: Any) -> None:
    """As an engine with containerd's store does it, in the layout of the OCI."""
    image = Image(NOISE, TEXT)
    packed = gzip.compress(TEXT, 1, mtime=0)
    image.parts = {"blobs/sha256/a": NOISE, "blobs/sha256/b": packed, "index.json": b"{}"}
    assert measure(image)[_digest(TEXT)] == len(packed)


def test_a_layer_is_compressed_once_for_all_images(
    measure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(Image(NOISE, TEXT))
    blocks: list[int] = []
    pack = compressing._gzip_size
    monkeypatch.setattr(compressing, "_gzip_size", lambda block: blocks.append(len(block)) or pack(block))
    monkeypatch.setattr(compressing, "_SURE", len(NOISE))
    sizes = measure(Image(NOISE, OTHER))
    assert len(NOISE) not in blocks
    assert len(OTHER) in blocks
    assert list(sizes) == [_digest(NOISE), _digest(OTHER)]
    assert set(json.loads((tmp_path / "compressed.json").read_text(encoding="utf-8"))) == {
        _digest(layer) for layer in (NOISE, TEXT, OTHER)
    }


def test_an_image_of_known_layers_is_not_even_exported(measure: Any) -> None:
    first, again = Image(NOISE, TEXT), Image(TEXT)
    sizes = measure(first)
    assert measure(again) == {_digest(TEXT): sizes[_digest(TEXT)]}
    assert again.exports == 0


def test_two_layers_of_the_same_length_are_told_apart(measure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressing, "_SURE", 0)
    twin = _tar({"image.json": b"another version\n" * 20_000})
    assert len(twin) == len(OTHER)
    measure(Image(OTHER))
    image = Image(OTHER, twin)
    assert set(measure(image)) == {_digest(OTHER), _digest(twin)}
    assert image.exports == 2  # the second time nothing was passed over


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"sha256:a": 7}'])
def test_a_damaged_memory_is_measured_anew(measure: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "compressed.json").write_text(text, encoding="utf-8")
    assert list(measure(Image(TEXT))) == [_digest(TEXT)]


def test_layers_in_an_unknown_form_are_no_sizes_of_zero(measure: Any) -> None:
    image = Image(TEXT)
    image.parts = {"blobs/sha256/a": b"(zstd)"}
    with pytest.raises(CommandFailed, match=r"exports 1 layers of sha256:image in a form that cannot"):
        measure(image)


def test_ctrl_c_ends_a_measurement(measure: Any, step: Any) -> None:
    step.children.stop()
    with pytest.raises(KeyboardInterrupt):
        measure(Image(TEXT))


# --- the image of a row -------------------------------------------------------------------


def test_what_was_measured_is_in_the_record_of_the_row(
    monkeypatch: pytest.MonkeyPatch, cpu: BuildSpec, tmp_path: Path
) -> None:
    image = Image(TEXT, NOISE)
    client = SimpleNamespace()
    monkeypatch.setattr(compressing, "ensure_engine", lambda _: client)
    monkeypatch.setattr(compressing, "find_image", lambda engine, name: {"sha256:1": image}.get(name))
    sizes = measure_row(cpu, "sha256:1", tmp_path, Console(quiet=True))
    record = read_record(tmp_path / str(cpu.row))
    assert record["compressed"] == [{"diff_id": diff_id, "size": size} for diff_id, size in sizes.items()]
    with pytest.raises(UsageError, match="the engine no longer has the image sha256:2") as failure:
        measure_row(cpu, "sha256:2", tmp_path, Console(quiet=True))
    assert failure.value.hint == f"build it again: ./build.py build {cpu.row}"
