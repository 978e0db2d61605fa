"""What the layers of images take, each counted once however many images have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

Layers: TypeAlias = Mapping[str, int]
"""Diff-id -> bytes, from the base to the top. The same diff-id is the same content, stored and sent once."""

# The digest of a layer without any file, which WORKDIR on a folder that exists leaves.
_EMPTY = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
# The instructions that only set something; all others make a layer.
_SETTINGS = (
    *("ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD"),
    *("SHELL", "STOPSIGNAL", "USER", "VOLUME"),
)


def _makes_layer(instruction: str, size: int) -> bool:
    words = instruction.removeprefix("/bin/sh -c #(nop) ").split(maxsplit=1)
    return size > 0 or not words or words[0] not in _SETTINGS


def pair_layers(diff_ids: Sequence[str], history: Sequence[tuple[str, int]]) -> Layers | None:
    """Return the size of each layer; None where the history does not tell.

    ``history`` holds instruction and bytes of each step, oldest first, as the engine tells them. It
    does not say which step made which layer, but both lists have the same order.
    """
    sizes = [size for instruction, size in history if _makes_layer(instruction, size)]
    if len(sizes) != len(diff_ids):
        sizes = [size for _, size in history if size > 0]  # a base that hides or renames its steps
        filled = [diff_id for diff_id in diff_ids if diff_id != _EMPTY]
        return dict(zip(filled, sizes, strict=True)) if len(sizes) == len(filled) else None
    return dict(zip(diff_ids, sizes, strict=True))


def listed(layers: Layers | None) -> list[dict[str, str | int]] | None:
    """Return layers as JSON that keeps their order."""
    return (
        None if layers is None else [{"diff_id": diff_id, "size": size} for diff_id, size in layers.items()]
    )


def count_once(images: Iterable[Layers | None]) -> list[int | None]:
    """Return what each image adds to those before it, in bytes; None where its layers are not known."""
    counted: set[str] = set()
    added: list[int | None] = []
    for layers in images:
        if layers is None:
            added.append(None)
            continue
        added.append(sum(size for diff_id, size in layers.items() if diff_id not in counted))
        counted.update(layers)
    return added
