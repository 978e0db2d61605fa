"""One row of the matrix with every default applied: all that the later stages may see."""

from __future__ import annotations

import calendar
import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import Version

from tritonbuild.compileplan import CompilePlan, CompileRequest, Source
from tritonbuild.compiling import default_request, features_of, find_sources, plan_compilation
from tritonbuild.identifiers import BuildId
from tritonbuild.matrix import Matrix
from tritonbuild.paths import DOCKERFILES
from tritonbuild.schema import (
    BakedModel,
    Base,
    Commits,
    Engine,
    Exclude,
    Image,
    Override,
    ReleaseFacts,
    Server,
    Wheel,
)
from tritonbuild.shapes import Conflict
from tritonbuild.toolchain import Archive, CMake, Dcgm, Toolchain


@dataclass(frozen=True, kw_only=True)
class BuildSpec:
    """What one image is made of. Pure data; ``resolve_spec`` makes it.

    ``engine`` is the vLLM that is installed from the row's lock, or None where the base provides
    NVIDIA's own build. The properties say the same of both kinds, so ask them first.
    """

    row: BuildId
    image: str
    base: Base
    server: Server
    toolchain: Toolchain
    engine: Engine | None
    model: BakedModel | None
    facts: ReleaseFacts
    # Of all that versions.yaml knows, whether this Triton has it.
    abilities: dict[str, bool]
    is_default_source: bool
    size_budget_mb: int
    conflicts: tuple[Conflict, ...]
    # What nobody proved, where the spec is not as versions.yaml has it, and where its recipe then lies.
    unverified: tuple[str, ...] = ()
    own_folder: Path | None = None
    # How the server is compiled, and how the committed Dockerfile does it; None where it comes compiled.
    plan: CompilePlan | None = None
    default_plan: CompilePlan | None = None

    @property
    def name(self) -> str:
        """What the build's folder is called."""
        name = f"{self.row}-vllm{self.vllm}" if self.unverified else str(self.row)
        return name if self.is_committed else f"{name}-compiled"

    @property
    def is_committed(self) -> bool:
        """Whether the row's Dockerfile under dockerfiles/ is this one's, or flags ask for another."""
        return self.plan == self.default_plan

    @property
    def sources(self) -> tuple[Source, ...]:
        """The repositories that a server is compiled from."""
        if self.plan is None or self.commits is None or self.server.tag is None:
            return ()
        return find_sources(self.plan, self.commits, self.server.tag)

    @property
    def compile_packages(self) -> tuple[str, ...]:
        """Debian packages of the stage that compiles the server, sorted."""
        boost = self.toolchain.boost.get(self.base.glibc)
        return tuple(sorted({*self.toolchain.packages, *([boost] if isinstance(boost, str) else [])}))

    @property
    def boost(self) -> Archive | None:
        """Boost's headers, where the base's own package of them is too old to compile with."""
        boost = self.toolchain.boost.get(self.base.glibc)
        return None if isinstance(boost, str) else boost

    @property
    def cmake(self) -> CMake | None:
        """The CMake that upstream's build.py of this release installs."""
        return self.toolchain.cmake_of(self.row.release)

    @property
    def dcgm(self) -> Dcgm | None:
        """The DCGM that upstream's build.py of this release installs."""
        return self.toolchain.dcgm_of(self.row.release)

    @property
    def is_cuda(self) -> bool:
        return self.row.variant == "cuda"

    @property
    def folder(self) -> Path:
        """The folder with the row's Dockerfile and locks; committed, unless the spec is unverified."""
        return self.own_folder or DOCKERFILES / self.row.release / f"{self.row.variant}-{self.row.source}"

    @property
    def sharing(self) -> tuple[str, ...]:
        """What rows must have in common to share their large layers: base, vLLM, model."""
        model = self.model.requirement if self.model else ""
        return (self.base.pinned_ref, self.row.variant, self.vllm_package, self.vllm, model)

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages of the runtime image, sorted."""
        extra = self.base.cuda_packages if self.is_cuda else ()
        return tuple(sorted({*self.base.packages, *extra}))

    @property
    def site_packages(self) -> str:
        """Where pip, run by root, installs inside the image."""
        return f"/usr/local/lib/python{self.base.python}/dist-packages"

    @property
    def is_on_nvidias_base(self) -> bool:
        """Whether the base is one of NVIDIA's, with a start-up script of its own."""
        return self.base.ref.startswith("nvcr.io/")

    @property
    def entrypoint(self) -> str:
        """The start-up script of NVIDIA's images."""
        return "/opt/nvidia/nvidia_entrypoint.sh"

    @property
    def triton(self) -> str:
        return self.facts.triton

    @property
    def commits(self) -> Commits | None:
        """The commit of each repository that a server compiled from source is made of."""
        return self.facts.commits

    @property
    def vllm(self) -> str:
        """The version of vLLM in the image; of NVIDIA's own builds with the local part."""
        return self.engine.version if self.engine else str(self.facts.vllm.ngc)

    @property
    def vllm_package(self) -> str:
        """The name of the distribution that vLLM is installed as."""
        return self.engine.package if self.engine else "vllm"

    @property
    def torch(self) -> str | None:
        """The version of torch; None where only the base knows."""
        return self.engine.torch if self.engine else None

    @property
    def cuda(self) -> str | None:
        """The CUDA that vLLM runs on; None in an image for CPUs."""
        return self.engine.cuda if self.engine else self.facts.cuda

    @property
    def driver_min(self) -> str | None:
        return self.engine.driver_min if self.engine else self.facts.driver_min

    @property
    def compute_capability_min(self) -> str | None:
        return self.engine.compute_capability_min if self.engine else self.facts.compute_capability_min

    @property
    def as_of(self) -> dt.datetime:
        """The row's date: the cut-off of its lock, else the end of its release's month."""
        if self.engine:
            return self.engine.cutoff
        year, month = map(int, self.row.release.split("."))
        return dt.datetime(2000 + year + month // 12, month % 12 + 1, 1, tzinfo=dt.timezone.utc)

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the row, in seconds since 1970."""
        return int(self.as_of.timestamp())

    @property
    def base_epoch(self) -> int:
        """What files of the system are dated that a build changes; rows of different dates share it.

        A second after the base's own date, which its own files have: engines tell files of two layers apart
        by their time. The row's where the base has no date.
        """
        date = self.base.date
        return calendar.timegm(date.timetuple()) + 1 if date else self.epoch

    @property
    def overrides(self) -> tuple[Override, ...]:
        return self.engine.overrides if self.engine else ()

    @property
    def excludes(self) -> tuple[Exclude, ...]:
        return self.engine.excludes if self.engine else ()

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """The wheels that the default package index does not have."""
        return self.engine.wheels if self.engine else ()


def _of_release(image: Image, release: str, facts: ReleaseFacts) -> dict[str, object]:
    """Return reference and digest of ``image`` with the placeholders filled in."""
    upstream = facts.upstream_container_version or release
    ref = image.ref and image.ref.replace("{release}", release).replace("{upstream}", upstream)
    return {"ref": ref, "digest": image.digests.get(release, image.digest), "digests": {}}


def resolve_spec(matrix: Matrix, row: BuildId) -> BuildSpec:
    """Return the spec of ``row``, which must be one of ``matrix.rows()``."""
    cell = matrix.cell(row)
    facts = matrix.releases[row.release]
    base = matrix.bases[cell.base]
    server = matrix.servers[cell.server]
    siblings = [r for r in matrix.rows() if (r.release, r.variant) == (row.release, row.variant)]
    spec = BuildSpec(
        row=row,
        image=matrix.defaults.image,
        base=base.model_copy(update=_of_release(base, row.release, facts)),
        server=server.model_copy(
            update={
                **_of_release(server, row.release, facts),
                "triton": facts.triton,
                "tag": server.tag and server.tag.replace("{release}", row.release),
            }
        ),
        toolchain=matrix.toolchain,
        engine=matrix.engine(row),
        model=matrix.models[cell.model] if cell.model else None,
        facts=facts,
        abilities={
            name: Version(facts.triton) >= Version(ability.since)
            for name, ability in matrix.abilities.items()
        },
        is_default_source=row.source == default_source(siblings),
        size_budget_mb=cell.size_budget_mb
        or matrix.defaults.size_budget_mb["cuda" if row.variant == "cuda" else "cpu"],
        conflicts=matrix.conflicts(row),
    )
    if spec.commits is None or spec.server.organization is None:
        return spec
    plan = _plan(spec, usual_request(spec), spec.server.organization)
    return replace(spec, plan=plan, default_plan=plan)


def usual_request(spec: BuildSpec) -> CompileRequest:
    """Return how a row's server is compiled where no flag says otherwise."""
    assert spec.commits  # noqa: S101  (a row that is compiled has them, see contradictions)
    return default_request(spec.server.features, spec.commits, is_cuda=spec.is_cuda)


def _plan(spec: BuildSpec, request: CompileRequest, organization: str) -> CompilePlan:
    return plan_compilation(
        request,
        release=spec.row.release,
        triton=spec.triton,
        organization=organization,
        tag=str(spec.server.tag),
    )


def compile_as_asked(
    spec: BuildSpec, request: CompileRequest, *, organization: str | None = None
) -> BuildSpec:
    """Return ``spec`` with its server compiled as ``request`` says, from another place if one is given."""
    plan = _plan(spec, request, organization or str(spec.server.organization))
    server = spec.server.model_copy(update={"features": features_of(plan)})
    return replace(spec, plan=plan, server=server)


def default_source(rows: list[BuildId]) -> str:
    """Return the source used when none is asked for: the one that needs no vendor registry."""
    order = ("pypi", "ngc", "source")
    return min((row.source for row in rows), key=order.index)
