"""Newer releases of vLLM, its CPU build and nvidia-pytriton on the package index."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from tritonbuild.errors import Unreachable
from tritonbuild.indexes import IndexFile
from tritonbuild.matrix import Matrix
from tritonbuild.updates.policy import Proposal, Unanswered
from tritonbuild.wheeltags import is_installable
from tritonbuild.yamledit import Edit, Rename


class Index(Protocol):
    """Where packages are looked up; tritonbuild.indexes.PackageIndex is one."""

    def files(self, project: str) -> list[IndexFile]:
        """Return the files of a project; raise Unreachable without an answer."""


def newest(
    files: list[IndexFile], pythons: set[tuple[str, str]], before: dt.datetime | None = None
) -> Version | None:
    """Return the newest release with a wheel for each Python and glibc of ``pythons``, if there is one.

    Not counted: what was withdrawn, what is not final, and what was uploaded after ``before``.
    """
    wheels: dict[Version, set[tuple[str, str]]] = {}
    for file in files:
        try:
            version = parse_wheel_filename(file.filename)[1]
        except InvalidWheelFilename:
            continue
        late = before and file.uploaded and file.uploaded > before
        if file.yanked is None and not version.is_prerelease and not version.local and not late:
            fitting = {kind for kind in pythons if is_installable(file.filename, *kind)}
            wheels.setdefault(version, set()).update(fitting)
    return max((version for version, fitting in wheels.items() if fitting == pythons), default=None)


@dataclass(frozen=True, kw_only=True)
class StandIns:
    """Engines that stand in for the vLLM that upstream pins: the newest one will do, so it is written."""

    matrix: Matrix
    index: Index
    today: dt.date
    family: str = "stand-in engines"

    def find(self) -> Iterator[Proposal | Unanswered | None]:
        midnight = dt.datetime.combine(self.today, dt.time(), dt.timezone.utc)
        for name, engine in self.matrix.engines.items():
            if engine.substitute is None:
                continue
            try:
                files = self.index.files(engine.package)
            except Unreachable as error:
                yield Unanswered(family=self.family, subject=name, reason=error.message)
                continue
            latest = newest(files, self._pythons(name), midnight)
            if latest is None or latest <= Version(engine.version):
                yield None
                continue
            entry = f"{engine.package}-{latest}"
            yield Proposal(
                family=self.family,
                subject=f"engines.{name}",
                current=engine.version,
                latest=str(latest),
                remedy="lock it (another torch needs another wheel under `wheels`), build and smoke-test a row of "
                "it, and say in `evidence` that it was seen serving",
                edits=(
                    Rename(table="engines", reference="engine", old=name, new=entry),
                    Edit(path=("engines", entry, "version"), value=str(latest)),
                    Edit(path=("engines", entry, "cutoff"), value=f"{midnight:%Y-%m-%dT%H:%M:%SZ}"),
                ),
            )

    def _pythons(self, name: str) -> set[tuple[str, str]]:
        cells = [self.matrix.cell(row) for row in self.matrix.rows()]
        bases = [self.matrix.bases[cell.base] for cell in cells if cell.engine == name]
        return {(base.python, base.glibc) for base in bases}


@dataclass(frozen=True, kw_only=True)
class NewerPackages:
    """vLLM and nvidia-pytriton: what they hold, and for which release, a person has to find out."""

    matrix: Matrix
    index: Index
    family: str = "packages"

    def find(self) -> Iterator[Proposal | Unanswered | None]:
        vllm = [engine.version for engine in self.matrix.engines.values() if engine.package == "vllm"]
        remedy = (
            "a release gets the vLLM that upstream pins; until then: build --vllm-version --allow-unverified"
        )
        yield from self._newer("vllm", vllm, remedy)
        pinned = [server.requirement for server in self.matrix.servers.values() if server.requirement]
        remedy = "ask its binary which Triton it is, and add server and release (docs/versions.md)"
        for package in sorted({requirement.partition("==")[0] for requirement in pinned}):
            versions = [r.partition("==")[2] for r in pinned if r.partition("==")[0] == package]
            yield from self._newer(package, versions, remedy)

    def _newer(
        self, package: str, versions: list[str], remedy: str
    ) -> Iterator[Proposal | Unanswered | None]:
        if not versions:
            return
        current = max(map(Version, versions))
        try:
            latest = newest(self.index.files(package), set())
        except Unreachable as error:
            yield Unanswered(family=self.family, subject=package, reason=error.message)
            return
        if latest is None or latest <= current:
            yield None
            return
        yield Proposal(
            family=self.family,
            subject=package,
            current=str(current),
            latest=str(latest),
            remedy=remedy,
        )
