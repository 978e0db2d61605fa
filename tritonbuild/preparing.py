"""The recipe of a row with another vLLM: what lies committed for a row is made in the build folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from tritonbuild.console import Step
from tritonbuild.errors import CommandFailed, NothingSelected
from tritonbuild.files import write_atomic
from tritonbuild.identifiers import parse_row
from tritonbuild.locking import Lock, promised_versions, row_locks, write_locks
from tritonbuild.matrix import Matrix
from tritonbuild.paths import DOCKERFILES, shown
from tritonbuild.rendering import render_all
from tritonbuild.schema import Engine
from tritonbuild.spec import BuildSpec
from tritonbuild.variation import complete_engine, is_known, resolve_near, with_engine
from tritonbuild.wheels import locate_wheels, wheel_folders

_RECIPE = "recipe.json"


def prepare_recipe(
    spec: BuildSpec, wheelhouses: Sequence[Path], step: Step, *, anew: bool = False
) -> BuildSpec:
    """Make Dockerfile and locks of an unverified spec in its own folder; return what they say.

    What an earlier run has resolved is kept, with its cut-off, unless ``anew``.
    """
    folder, engine = _own(spec)
    kept = None if anew or is_known(engine) else _read(folder)
    if kept and _asks_the_same(engine, kept[1]):
        spec = with_engine(spec, kept[1], folder)
    for lock in row_locks(spec):
        if not lock.is_current and not _copy_committed(lock):
            _resolve(spec, lock, wheelhouses, step)
    spec = with_engine(spec, complete_engine(_own(spec)[1], promised_versions(spec)), folder)
    recipe = {"row": str(spec.row), "engine": _own(spec)[1].model_dump(mode="json")}
    write_atomic(folder / _RECIPE, json.dumps(recipe, indent=2) + "\n")
    render_all([spec])
    step.outcome = f"vLLM {spec.vllm}, torch {spec.torch}, as of {spec.as_of:%Y-%m-%d}"
    return spec


_NO_RECIPE = (
    "build it first: ./build.py build ROW --vllm-version X, or bring that folder from where it was built"
)


def read_recipe(matrix: Matrix, folder: Path) -> BuildSpec:
    """Return the spec that the recipe in ``folder`` was made for."""
    recipe = _read(folder)
    if recipe is None:
        message = f"{shown(folder)} holds no recipe for a row with another vLLM"
        raise NothingSelected(message, hint=_NO_RECIPE)
    row, engine = recipe
    return with_engine(resolve_near(matrix, parse_row(row, matrix.rows())), engine, folder)


def _read(folder: Path) -> tuple[str, Engine] | None:
    """Return row and engine of a recipe; None where there is none, or none that this driver wrote."""
    try:
        recipe = json.loads((folder / _RECIPE).read_text(encoding="utf-8"))
        return str(recipe["row"]), Engine.model_validate(recipe["engine"])
    except (OSError, ValueError, KeyError, TypeError):  # pydantic's errors are ValueErrors
        return None


def _own(spec: BuildSpec) -> tuple[Path, Engine]:
    """Return what an unverified spec has and others may lack."""
    if spec.own_folder is None or spec.engine is None:
        message = f"{spec.row} is as versions.yaml says, it needs no recipe"
        raise TypeError(message)
    return spec.own_folder, spec.engine


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
