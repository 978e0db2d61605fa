"""Whether two images hold the same: their file trees, and how their containers are started."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import docker
from docker.models.images import Image

from tritonbuild.debian import find_owner, read_owners, read_packages
from tritonbuild.engine import export_image, find_image
from tritonbuild.errors import UsageError
from tritonbuild.trees import PathDifference, Tree, find_differences, read_tree

Change = tuple[str | None, str | None]

# All of an image's configuration that changes how a container runs or what an image says it is.
# What is left out tells when and by which step it was built.
_SETTINGS = (
    *("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "Labels"),
    *("Healthcheck", "StopSignal", "Shell", "OnBuild"),
)


@dataclass(frozen=True, kw_only=True)
class ImageDifference:
    """Where two images differ, each pair as (first, second); empty when they are the same."""

    images: tuple[str, str]
    ids: tuple[str, str]
    layers: tuple[tuple[str, ...], tuple[str, ...]]
    """SHA-256 of each uncompressed layer, the base first."""
    settings: Mapping[str, Change]
    packages: Mapping[str, Change]
    """Debian packages of different versions."""
    paths: tuple[PathDifference, ...]
    owners: Mapping[str, str]
    """Path -> package, for the paths that differ and belong to a package that does."""

    @property
    def is_empty(self) -> bool:
        return not (self.settings or self.packages or self.paths)

    def as_json(self) -> dict[str, Any]:
        def pairs(changes: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
            return {name: {"first": a, "second": b} for name, (a, b) in changes.items()}

        first, second = self.layers
        return {
            "same": self.is_empty,
            "images": {"first": self.images[0], "second": self.images[1]},
            "ids": {"first": self.ids[0], "second": self.ids[1]},
            "layers": {"first": first, "second": second},
            "settings": pairs(self.settings),
            "packages": pairs(self.packages),
            "paths": {d.path: {**pairs(d.attributes), **_owner(self.owners.get(d.path))} for d in self.paths},
        }


def _owner(package: str | None) -> dict[str, str]:
    return {"package": package} if package else {}


def compare_images(client: docker.DockerClient, first: str, second: str) -> ImageDifference:
    """Return where two images that the engine has differ.

    Images of the same layers hold the same tree, by the SHA-256 of each; of others every path is read.
    """
    images = tuple(_get(client, reference) for reference in (first, second))
    layers = tuple(tuple(image.attrs["RootFS"]["Layers"]) for image in images)
    trees = (Tree({}), Tree({}))
    if layers[0] != layers[1]:
        trees = (_read(images[0]), _read(images[1]))
    packages = _changes(*(read_packages(tree.texts) for tree in trees))
    paths = tuple(find_differences(*trees))
    listed = {**read_owners(trees[1].texts), **read_owners(trees[0].texts)} if packages else {}
    owners = {d.path: find_owner(d.path, listed) for d in paths}
    return ImageDifference(
        images=(first, second),
        ids=(str(images[0].id), str(images[1].id)),
        layers=(layers[0], layers[1]),
        settings=_changes(*map(_settings, images)),
        packages=packages,
        paths=paths,
        owners={path: owner for path, owner in owners.items() if owner in packages},
    )


def _get(client: docker.DockerClient, reference: str) -> Image:
    image = find_image(client, reference)
    if image is None:
        message = f"the engine has no image {reference}"
        raise UsageError(message, hint=f"build it, or docker pull {reference}")
    return image


def _read(image: Image) -> Tree:
    return read_tree(export_image(image))


def _settings(image: Image) -> dict[str, str]:
    """Return the configuration, flat: each variable, label and port is one entry."""
    flat: dict[str, str] = {name.lower(): str(image.attrs[name]) for name in ("Architecture", "Os")}
    for name in _SETTINGS:
        value = image.attrs["Config"].get(name)
        if name == "Env":
            flat |= {f"env {key}": text for key, _, text in (line.partition("=") for line in value or ())}
        elif isinstance(value, dict):
            flat |= {f"{name.lower()} {key}": json.dumps(value[key]).strip('"') for key in value}
        elif value:
            flat[name.lower()] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Change]:
    pairs = {name: (before.get(name), after.get(name)) for name in sorted({*before, *after})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def report_lines(difference: ImageDifference) -> Iterator[str]:
    """Yield the report: ``-`` only the first has, ``+`` only the second, ``~`` both, but not the same."""
    for name, image_id in zip(difference.images, difference.ids, strict=True):
        yield f"image     {name} ({image_id.removeprefix('sha256:')[:12]})"
    first, second = difference.layers
    same = sum(a == b for a, b in zip(first, second, strict=False))
    yield f"layers    {same} of {max(len(first), len(second))} are the same"
    for title, changes in (("settings", difference.settings), ("packages", difference.packages)):
        yield f"{title:9} {f'{len(changes)} differ' if changes else 'the same'}"
        for name, (old, new) in changes.items():
            if old is None:
                yield f"  + {name} {new}"
            elif new is None:
                yield f"  - {name} {old}"
            else:
                yield f"  ~ {name} {old} -> {new}"
    explained = difference.owners
    count = f"{len(difference.paths)} differ" if difference.paths else "the same"
    yield f"paths     {count}{f', {len(explained)} of them in packages that differ' if explained else ''}"
    # What no package explains comes first: it is what a build has to answer for.
    for path in sorted(difference.paths, key=lambda d: d.path in explained):
        package = explained.get(path.path)
        yield f"{_path_line(path)}{f'  ({package})' if package else ''}"


def _path_line(difference: PathDifference) -> str:
    kinds = difference.attributes.get("kind")
    if kinds and None in kinds:
        mark, kind = ("+", kinds[1]) if kinds[0] is None else ("-", kinds[0])
        return f"  {mark} /{difference.path}  {kind}"
    changes = (
        f"{name} {_short(name, old)} -> {_short(name, new)}"
        for name, (old, new) in difference.attributes.items()
    )
    return f"  ~ /{difference.path}  {', '.join(changes)}"


def _short(name: str, value: str | int | None) -> str:
    text = str(value) or "none"
    return text[:12] if name == "sha256" else text
