"""The recipe of a row with another vLLM: what lies committed for a row is made in the build folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tritonbuild.console import Step
from tritonbuild.errors import CommandFailed, NothingSelected
from tritonbuild.files import write_atomic
from tritonbuild.locking import Lock, promised_versions, row_locks, write_locks
from tritonbuild.paths import DOCKERFILES, shown
from tritonbuild.rendering import render_all
from tritonbuild.schema import Engine
from tritonbuild.spec import BuildSpec
from tritonbuild.variation import complete_engine, is_known, with_engine
from tritonbuild.wheels import locate_wheels, wheel_folders

_ENGINE = "engine.json"


def prepare_recipe(
    spec: BuildSpec, wheelhouses: Sequence[Path], step: Step, *, anew: bool = False
) -> BuildSpec:
    """Make Dockerfile and locks of an unverified spec in its own folder; return what they say.

    What an earlier run has resolved is kept, with its cut-off, unless ``anew``.
    """
    folder, engine = _own(spec)
    kept = None if anew or is_known(engine) else _read_engine(folder)
    if kept and _asks_the_same(engine, kept):
        spec = with_engine(spec, kept, folder)
    for lock in row_locks(spec):
        if not lock.is_current and not _copy_committed(lock):
            _resolve(spec, lock, wheelhouses, step)
    spec = with_engine(spec, complete_engine(_own(spec)[1], promised_versions(spec)), folder)
    write_atomic(folder / _ENGINE, _own(spec)[1].model_dump_json(indent=2) + "\n")
    render_all([spec])
    step.outcome = f"vLLM {spec.vllm}, torch {spec.torch}, as of {spec.as_of:%Y-%m-%d}"
    return spec


def read_recipe(spec: BuildSpec, folder: Path) -> BuildSpec:
    """Return the spec of a row with the vLLM that a recipe in ``folder`` was made for."""
    engine = _read_engine(folder)
    if engine is None:
        message = f"{spec.row}: {shown(folder)} holds no recipe for another vLLM"
        raise NothingSelected(message, hint=f"build it first: ./build.py build {spec.row} --vllm-version X")
    return with_engine(spec, engine, folder)


def _own(spec: BuildSpec) -> tuple[Path, Engine]:
    """Return what an unverified spec has and others may lack."""
    if spec.own_folder is None or spec.engine is None:
        message = f"{spec.row} is as versions.yaml says, it needs no recipe"
        raise TypeError(message)
    return spec.own_folder, spec.engine


def _read_engine(folder: Path) -> Engine | None:
    try:
        return Engine.model_validate_json((folder / _ENGINE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # pydantic's errors are ValueErrors
        return None


def _asks_the_same(engine: Engine, kept: Engine) -> bool:
    """Whether ``kept`` is ``engine`` with the date and the findings of an earlier run."""
    found = kept.model_dump(include={"cutoff", "torch", "cuda", "driver_min", "compute_capability_min"})
    return kept.cutoff <= engine.cutoff and engine.model_copy(update=found) == kept


def _copy_committed(lock: Lock) -> bool:
    """Take a lock that a row of versions.yaml has for the same request; tell whether there is one."""
    for path in sorted(DOCKERFILES.glob(f"*/*/{lock.path.name}")):
        if dataclasses.replace(lock, path=path).is_current:
            write_atomic(lock.path, path.read_text(encoding="utf-8"))
            return True
    return False


def _resolve(spec: BuildSpec, lock: Lock, wheelhouses: Sequence[Path], step: Step) -> None:
    step.milestone(f"resolving {lock.subject}")
    wheels = locate_wheels(lock.request.wheels, wheel_folders(wheelhouses), step)
    try:
        write_locks([lock], wheels)
    except CommandFailed as error:
        message = f"{spec.row}: vLLM {spec.vllm} does not resolve"
        own = ", ".join(wheel.requirement for wheel in spec.wheels)
        hint = f"the lock must also hold {own}" if own else "read the lines above"
        raise CommandFailed(
            message, tail=error.tail, hint=f"{hint}; a vLLM that cannot needs an engine in versions.yaml"
        ) from error
