"""A row with another vLLM than versions.yaml gives it. Nobody proved the two together, so it says so."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tritonbuild.errors import NothingSelected, UnsupportedFeature
from tritonbuild.identifiers import BuildId, name_some, nearest
from tritonbuild.matrix import Matrix
from tritonbuild.records import row_folder
from tritonbuild.schema import Engine, Override
from tritonbuild.shapes import Conflict, Evidence
from tritonbuild.spec import BuildSpec, resolve_spec
from tritonbuild.wheeltags import is_installable

_ASKED = "--vllm-version"
_CUDA_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")


def is_same(held: str, asked: str) -> bool:
    """Tell whether a row that holds one version has what is asked for; NVIDIA's local part may be left out."""
    return asked in (held, Version(held).public) or Version(held) == Version(asked)


def is_known(engine: Engine) -> bool:
    """Whether versions.yaml holds the engine, as opposed to one made for --vllm-version."""
    return engine.evidence[0].source != _ASKED


def recipe_folder(row: BuildId, version: str, build_dir: Path | None) -> Path:
    """Return where Dockerfile and locks of a row with another vLLM lie."""
    return row_folder(f"{row}-vllm{version}", build_dir) / "recipe"


def resolve_near(matrix: Matrix, row: BuildId) -> BuildSpec:
    """Return the spec of a row, or of one put together from its neighbours; KeyError where neither can be."""
    wider = matrix if row in matrix.rows() else add_row(matrix, row)
    return resolve_spec(wider or matrix, row)


def add_row(matrix: Matrix, row: BuildId) -> Matrix | None:
    """Return the matrix with a row that it lacks, put together from its neighbours; None where that cannot be.

    The server is that of the release's other variant, all else is that of the nearest release with
    such an image.
    """
    key = f"{row.variant}-{row.source}"
    facts = matrix.releases[row.release]
    servers = [cell.server for name, cell in facts.images.items() if name.endswith(f"-{row.source}")]
    others = [other for other in matrix.rows() if (other.variant, other.source) == (row.variant, row.source)]
    if not servers or not others:
        return None
    place = sorted(matrix.releases).index
    nearest = min(others, key=lambda other: abs(place(other.release) - place(row.release)))
    cell = matrix.cell(nearest).model_copy(update={"server": servers[0]})
    wider = facts.model_copy(update={"images": {**facts.images, key: cell}})
    return matrix.model_copy(update={"releases": {**matrix.releases, row.release: wider}})


def vary(
    matrix: Matrix,
    spec: BuildSpec,
    version: str,
    *,
    allowed: bool,
    now: dt.datetime,
    build_dir: Path | None,
) -> BuildSpec:
    """Return ``spec`` with vLLM ``version``; unchanged where it is a row that has it anyway.

    Raises NothingSelected unless ``allowed``. ``now`` is the cut-off of the lock of a version that is
    newer than all that versions.yaml knows; an older one has that of the next engine.
    """
    is_row = spec.row in matrix.rows()
    if is_row and is_same(spec.vllm, version):
        return spec
    if spec.engine is None:
        message = f"{spec.row}: vLLM {spec.vllm} is part of the base image and cannot be another"
        raise UnsupportedFeature(message, hint=f"leave {_ASKED} out, or take another --server-source")
    if not allowed:
        raise _refusal(matrix, spec, version)
    engine = _find_engine(matrix, spec, spec.engine, version, now)
    return with_engine(spec, engine, recipe_folder(spec.row, version, build_dir))


def with_engine(spec: BuildSpec, engine: Engine, folder: Path) -> BuildSpec:
    """Return the spec of a row with another engine, whose Dockerfile and locks lie in ``folder``."""
    unverified = [
        f"vLLM {engine.version} with Triton {spec.triton}, no row of versions.yaml has them together"
    ]
    if not is_known(engine):
        unverified.append(
            f"vLLM {engine.version} itself, resolved as of {engine.cutoff:%Y-%m-%d}"
            f" by the rules for {engine.evidence[0].value}"
        )
    conflicts = spec.facts.conflicts
    if spec.facts.vllm.public != engine.version:
        given = Conflict(
            about=f"vllm of the {spec.row.variant} variant",
            values=(
                f"{spec.facts.vllm.public} (build.py of r{spec.row.release})",
                f"{engine.version} ({_ASKED})",
            ),
            chosen=engine.version,
            reason="it was asked for, unverified",
        )
        conflicts = (*conflicts, given)
    return dataclasses.replace(
        spec,
        engine=engine,
        conflicts=conflicts,
        unverified=tuple(unverified),
        own_folder=folder,
    )


def complete_engine(engine: Engine, pins: Mapping[str, str]) -> Engine:
    """Return an engine that versions.yaml does not know with what its lock (name -> version) tells."""
    if is_known(engine):
        return engine
    found: dict[str, object] = {"torch": pins["torch"]}
    if pins["torch"] != engine.torch:
        runtime = next((v for name, v in sorted(pins.items()) if _CUDA_RUNTIME.fullmatch(name)), None)
        cuda = ".".join(runtime.split(".")[:2]) if runtime else None
        found |= {"cuda": cuda, "driver_min": None, "compute_capability_min": None}
    return Engine.model_validate(engine.model_dump() | found)


def _refusal(matrix: Matrix, spec: BuildSpec, version: str) -> NothingSelected:
    variant = spec.row.variant
    siblings = [resolve_spec(matrix, row) for row in matrix.rows() if row.variant == variant]
    rows = [str(s.row) for s in siblings if is_same(s.vllm, version)]
    if rows:
        return NothingSelected(
            f"{_ASKED}: {spec.row} has vLLM {spec.vllm}, and no row of {spec.row.release} has {version}",
            hint=f"it is in {name_some(rows, 5)}; --allow-unverified combines them all the same",
        )
    known = sorted({Version(s.vllm).public for s in siblings}, key=Version)
    close = nearest(version, known)
    guess = f"did you mean {close!r}? " if close else ""
    return NothingSelected(
        f"{_ASKED}: no {variant} row of versions.yaml has vLLM {version}",
        hint=f"{guess}known: {name_some(known, 40)}; --allow-unverified takes another all the same",
    )


def _find_engine(matrix: Matrix, spec: BuildSpec, own: Engine, version: str, now: dt.datetime) -> Engine:
    """Return the engine of that version that the matrix knows for such rows, else one made after the nearest."""
    asked = Version(version)
    engines = sorted(
        (
            engine
            for engine in matrix.engines.values()
            if (engine.cuda is not None) == spec.is_cuda
            and all(is_installable(w.filename, spec.base.python, spec.base.glibc) for w in engine.wheels)
        ),
        key=lambda engine: Version(engine.version),
    )
    same = [engine for engine in engines if Version(engine.version) == asked]
    if same:
        return _hold_back(same[0], own, spec.triton)
    older = [engine for engine in engines if Version(engine.version) < asked]
    newer = engines[len(older) :]
    nearest = older[-1] if older else engines[0]
    # A requirement cannot hold back what the new version asks for; an override can.
    held = [requirement for requirement in nearest.requirements if _name(requirement) == "numpy"]
    rules = nearest.model_dump() | {
        "version": version,
        # What is much newer than a vLLM seldom runs with it.
        "cutoff": newer[0].cutoff if newer else now,
        "substitute": None,
        "requirements": tuple(r for r in nearest.requirements if r not in held),
        "evidence": (Evidence(source=_ASKED, value=f"{nearest.package} {nearest.version}"),),
    }
    engine = Engine.model_validate(rules)
    own = own.model_copy(update={"requirements": (*own.requirements, *held)})
    return _hold_back(engine, own, spec.triton)


def _hold_back(engine: Engine, own: Engine, triton: str) -> Engine:
    """Return ``engine`` with the overrides of the row's own, for they are due to the row's server."""
    overrides = {_name(o.requirement): o for o in own.overrides}
    for requirement in own.requirements:
        if _name(requirement) == "numpy" and "numpy" not in overrides:
            reason = f"The Python-backend stub of Triton {triton} dies on any string tensor with numpy 2."
            overrides["numpy"] = Override(requirement=requirement, reason=reason)
    decided = {_name(o.requirement) for o in engine.overrides} | {_name(r) for r in engine.requirements}
    added = [override for name, override in overrides.items() if name not in decided]
    return engine.model_copy(update={"overrides": (*engine.overrides, *added)})


def _name(requirement: str) -> str:
    return Requirement(requirement).name
