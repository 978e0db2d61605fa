"""One row of the matrix with every default applied: all that the later stages may see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tritonbuild.identifiers import BuildId
from tritonbuild.matrix import BakedModel, Base, Conflict, Engine, Matrix, Server
from tritonbuild.paths import DOCKERFILES


@dataclass(frozen=True, kw_only=True)
class BuildSpec:
    """What one image is made of. Pure data; ``resolve`` makes it."""

    row: BuildId
    image: str
    triton: str
    base: Base
    server: Server
    engine: Engine
    model: BakedModel | None
    is_default_source: bool
    size_budget_mb: int
    conflicts: tuple[Conflict, ...]

    @property
    def is_cuda(self) -> bool:
        return self.row.variant == "cuda"

    @property
    def folder(self) -> Path:
        """The committed folder with the row's Dockerfile and locks."""
        return DOCKERFILES / self.row.release / f"{self.row.variant}-{self.row.source}"

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages of the runtime image, sorted."""
        extra = self.base.cuda_packages if self.is_cuda else ()
        return tuple(sorted({*self.base.packages, *extra}))

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the row: the lock's cut-off, in seconds since 1970."""
        return int(self.engine.cutoff.timestamp())

    @property
    def site_packages(self) -> str:
        """Where pip, run by root, installs inside the image."""
        return f"/usr/local/lib/python{self.base.python}/dist-packages"

    @property
    def vllm(self) -> str:
        return self.engine.version


def resolve_spec(matrix: Matrix, row: BuildId) -> BuildSpec:
    """Return the spec of ``row``, which must be one of ``matrix.rows()``."""
    cell = matrix.cell(row)
    siblings = [r for r in matrix.rows() if (r.release, r.variant) == (row.release, row.variant)]
    return BuildSpec(
        row=row,
        image=matrix.defaults.image,
        triton=matrix.releases[row.release].triton,
        base=matrix.bases[cell.base],
        server=matrix.servers[cell.server],
        engine=matrix.engines[cell.engine],
        model=matrix.models[cell.model] if cell.model else None,
        is_default_source=row.source == default_source(siblings),
        size_budget_mb=matrix.defaults.size_budget_mb["cuda" if row.variant == "cuda" else "cpu"],
        conflicts=matrix.conflicts(row),
    )


def default_source(rows: list[BuildId]) -> str:
    """Return the source used when none is asked for: the one that needs no vendor registry."""
    order = ("pypi", "ngc", "source")
    return min((row.source for row in rows), key=order.index)
