"""What a row pins, flat, and what changes from one row to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonbuild.locking import promised_versions
from tritonbuild.records import read_record, row_folder
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference

Change = tuple[str | None, str | None]


def pins_of(spec: BuildSpec) -> dict[str, str | None]:
    """Return every pin of a row by its name; None where the row has no such thing."""
    return {
        "triton": spec.triton,
        "server": spec.server.origin,
        "server_sha256": spec.server.sha256,
        "engine": spec.vllm_package,
        "vllm": spec.vllm,
        "torch": spec.torch,
        "cuda": spec.cuda,
        "driver_min": spec.driver_min,
        "compute_capability_min": spec.compute_capability_min,
        "python": spec.base.python,
        "base": spec.base.pinned_ref,
        "cutoff": spec.as_of.isoformat() if spec.engine else None,
        "model": spec.model.requirement if spec.model else None,
    }


def describe_row(spec: BuildSpec) -> dict[str, str | None]:
    """Return a row as CI wants it: its coordinates, its pins, the name of its image."""
    row = spec.row
    return {
        "row": str(row),
        "release": row.release,
        "variant": row.variant,
        "source": row.source,
        **pins_of(spec),
        "image": image_reference(spec),
    }


@dataclass(frozen=True, kw_only=True)
class RowDifference:
    """What is not the same in two rows, each as (before, after)."""

    rows: tuple[str, str]
    images: tuple[str, str]
    pins: dict[str, Change]
    packages: dict[str, Change]
    sizes: tuple[int | None, int | None]

    def as_json(self) -> dict[str, Any]:
        def pairs(changes: dict[str, Change]) -> dict[str, Any]:
            return {name: {"from": before, "to": after} for name, (before, after) in changes.items()}

        packages = self.packages
        return {
            "rows": {"from": self.rows[0], "to": self.rows[1]},
            "images": {"from": self.images[0], "to": self.images[1]},
            "pins": pairs(self.pins),
            "packages": {
                "added": {name: after for name, (before, after) in packages.items() if before is None},
                "removed": {name: before for name, (before, after) in packages.items() if after is None},
                "changed": pairs({name: change for name, change in packages.items() if None not in change}),
            },
            "size": {"from": self.sizes[0], "to": self.sizes[1]},
        }


def _changes(before: dict[str, str | None], after: dict[str, str | None]) -> dict[str, Change]:
    names = [*before, *(name for name in after if name not in before)]
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _built_size(spec: BuildSpec, build_dir: Path | None) -> int | None:
    size = read_record(row_folder(spec.row, build_dir)).get("size")
    return size if isinstance(size, int) else None


def compare_rows(before: BuildSpec, after: BuildSpec, build_dir: Path | None = None) -> RowDifference:
    """Return what changes from ``before`` to ``after``; sizes come from the builds' records."""
    packages = _changes({**promised_versions(before)}, {**promised_versions(after)})
    return RowDifference(
        rows=(str(before.row), str(after.row)),
        images=(image_reference(before), image_reference(after)),
        pins=_changes(pins_of(before), pins_of(after)),
        packages=dict(sorted(packages.items())),
        sizes=(_built_size(before, build_dir), _built_size(after, build_dir)),
    )


def _megabytes(size: int | None) -> str:
    return "unknown until built here" if size is None else f"{size / 1e6:.0f} MB"


def difference_lines(difference: RowDifference) -> Iterator[str]:
    """Yield the report: ``-`` went, ``+`` came, ``~`` changed."""
    before, after = difference.rows
    yield f"{before} -> {after}"
    yield "image  " + " -> ".join(difference.images)
    old, new = difference.sizes
    growth = f" ({(new - old) / 1e6:+.0f} MB)" if old is not None and new is not None else ""
    yield f"size   {_megabytes(old)} -> {_megabytes(new)}{growth}"
    for title, changes in (("pins", difference.pins), ("packages", difference.packages)):
        yield ""
        yield f"{title}: {len(changes)} differ" if changes else f"{title}: the same"
        for name, (old_version, new_version) in changes.items():
            if old_version is None:
                yield f"  + {name} {new_version}"
            elif new_version is None:
                yield f"  - {name} {old_version}"
            else:
                yield f"  ~ {name} {old_version} -> {new_version}"
