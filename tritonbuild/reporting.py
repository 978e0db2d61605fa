"""The report: one page made from the records of builds and releases, and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tritonbuild import charts
from tritonbuild.comparing import RowDifference, compare_rows
from tritonbuild.paths import BUILD
from tritonbuild.records import read_record, row_folder
from tritonbuild.rendering import make_environment
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference

_MB = 1e6
_PARTS = 10
_LAYERS = charts.COLOURS


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of a row to one repository, as far as it came."""

    repository: str
    digest: str | None
    tags: tuple[str, ...]
    passed: int | None
    skipped: tuple[str, ...]
    audited: bool
    vulnerabilities: int | None
    steps: Mapping[str, bool]


@dataclass(frozen=True, kw_only=True)
class Row:
    """All that is known of a row. Sizes are bytes."""

    spec: BuildSpec
    image: str
    record: Mapping[str, Any]
    releases: tuple[Release, ...]
    difference: RowDifference | None
    previous: str | None

    @property
    def built(self) -> bool:
        return "image_id" in self.record

    @property
    def proven(self) -> bool:
        smoke = self.record.get("smoke") or {}
        return bool(smoke.get("passed")) and not smoke.get("failed") and self.is_of_this_image(smoke)

    @property
    def promoted(self) -> bool:
        return any(release.tags for release in self.releases)

    def is_of_this_image(self, smoke: Mapping[str, Any]) -> bool:
        return smoke.get("image_id") == self.record.get("image_id")

    @property
    def layers(self) -> list[dict[str, Any]]:
        return list(self.record.get("layers") or ())


def collect(specs: Sequence[BuildSpec], build_dir: Path | None = None) -> list[Row]:
    """Return what the records say of each row; a row that was never built has only its pins."""
    found: list[Row] = []
    before: dict[str, BuildSpec] = {}
    for spec in specs:
        kind = f"{spec.row.variant}-{spec.row.source}"
        previous = before.get(kind)
        found.append(
            Row(
                spec=spec,
                image=image_reference(spec),
                record=read_record(row_folder(spec.name, build_dir)),
                releases=_releases(spec, build_dir),
                difference=compare_rows(previous, spec, build_dir) if previous else None,
                previous=str(previous.row) if previous else None,
            )
        )
        before[kind] = spec
    return found


def _releases(spec: BuildSpec, build_dir: Path | None) -> tuple[Release, ...]:
    folders = sorted((build_dir or BUILD).glob(f"releases/*/{spec.name}"))
    return tuple(_release(read_record(folder)) for folder in folders if read_record(folder))


def _release(record: Mapping[str, Any]) -> Release:
    smoke, audit = record.get("smoke") or {}, record.get("audit") or {}
    return Release(
        repository=str(record.get("repository", "")),
        digest=record.get("digest"),
        tags=tuple(record.get("tags", ())),
        passed=smoke.get("passed"),
        skipped=tuple(smoke.get("skipped", ())),
        audited=bool(audit) and "not_asked" not in audit,
        vulnerabilities=len(audit["findings"]) if audit else None,
        steps={
            "pushed": "digest" in record,
            "proven there": bool(smoke.get("passed")),
            "evidence": "evidence" in record,
            "promoted": "promoted" in record,
        },
    )


def render_report(rows: Sequence[Row]) -> str:
    """Return the page: one HTML file that asks for nothing else."""
    environment = make_environment()
    environment.autoescape = True
    users = Counter(layer["diff_id"] for row in rows for layer in row.layers)
    return environment.get_template("report.html.j2").render(
        rows=rows,
        built=[row for row in rows if row.built],
        layer_chart=lambda row: Markup(_layer_chart(row, users)),  # noqa: S704  (our own SVG)
        part_chart=lambda row: Markup(_part_chart(row)),  # noqa: S704
        megabytes=lambda size: f"{size / _MB:,.0f}" if size else "-",
    )


def _layer_chart(row: Row, users: Mapping[str, int]) -> str:
    """Return the image's layers from the base up; the small ones are drawn as one, at the end."""
    drawn: list[tuple[str, float]] = []
    rest = 0.0
    large = sorted((layer["size"] for layer in row.layers), reverse=True)[: _LAYERS - 1]
    for number, layer in enumerate(row.layers, start=1):
        if layer["size"] in large and layer["size"] > _MB:
            others = users[layer["diff_id"]] - 1
            drawn.append(
                (f"layer {number}" + (f" (in {others} more)" if others else ""), layer["size"] / _MB)
            )
        else:
            rest += layer["size"] / _MB
    if rest >= 1:
        drawn.append(("the others", rest))
    return charts.stacked_bar(drawn, key=f"layers-{row.spec.name}", unit="MB") if drawn else ""


def _part_chart(row: Row) -> str:
    parts = Counter(row.record.get("facts", {}).get("parts", {}))
    return charts.bars(
        {name.removeprefix("python: "): size / _MB for name, size in parts.most_common(_PARTS)},
        key=f"parts-{row.spec.name}",
        unit="MB",
    )
