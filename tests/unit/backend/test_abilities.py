"""What tests of images and of upstream's contract ask of an engine is what that vLLM has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.conformance import repository as conformance
from tests.image import standin
from tests.image.abilities import SINCE
from tests.image.cuda import repository as cuda
from tests.unit.backend.vllm_facts import VERSIONS, Facts
from tritonbuild.loading import load_matrix
from tritonbuild.paths import MATRIX
from tritonbuild.spec import BuildSpec, resolve_spec


def engine_arguments(facts: Facts) -> set[str]:
    return {
        name
        for owner in ("EngineArgs", "AsyncEngineArgs")
        for name in fields(facts, "engine.arg_utils", owner)
    }


def sampling_parameters(facts: Facts) -> set[str]:
    return fields(facts, "sampling_params", "SamplingParams")


def fields(facts: Facts, module: str, name: str) -> set[str]:
    told = facts.modules[f"vllm.{module}"]["classes"][name]
    return {*told.get("fields", ()), *told.get("arguments", ())}


def tells_of_its_scheduler(facts: Facts) -> bool:
    telling = ("LLMEngine.add_logger", "StatLogger._log_prometheus", "AsyncLLM")
    return any(facts.has(path) for path in telling)


def runs_v1(facts: Facts) -> bool:
    """Whether the engine of a server is V1 unless a variable says otherwise."""
    if "vllm.v1.engine.async_llm" not in facts.modules:
        return False
    return facts.modules["vllm.envs"]["VLLM_USE_V1"] != "0"


HAS: dict[str, Callable[[Facts], bool]] = {
    "V1": runs_v1,
    # Engines have one of their own.
    "seed": lambda facts: "seed" in sampling_parameters(facts),
    "scheduler statistics": tells_of_its_scheduler,
    "structured outputs": lambda facts: bool(
        {"guided_decoding", "structured_outputs"} & sampling_parameters(facts)
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ability", SINCE)
def test_an_ability_is_there_from_the_version_on_that_is_said(ability: str, version: str) -> None:
    facts = Facts(version)
    known = HAS.get(ability, lambda facts: ability in engine_arguments(facts) | sampling_parameters(facts))
    assert known(facts) == (Version(version) >= SINCE[ability])


def cuda_rows() -> dict[str, BuildSpec]:
    """Return a row with GPUs for each vLLM of the matrix."""
    matrix = load_matrix(MATRIX)
    specs = (resolve_spec(matrix, row) for row in matrix.rows() if row.variant == "cuda")
    return {spec.vllm: spec for spec in specs if spec.vllm in VERSIONS}


ROWS = cuda_rows()


@pytest.mark.parametrize("version", ROWS)
def test_models_of_the_tests_have_arguments_that_the_engine_knows(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cuda, conformance, standin):
        monkeypatch.setattr(module, "write_tiny_model", lambda folder, size: folder.mkdir(parents=True))
    spec, known = ROWS[version], engine_arguments(Facts(version))
    cuda.write_all(tmp_path / "cuda", spec)
    conformance.write_all(tmp_path / "conformance", spec)
    standin.write_standin(tmp_path / "standin", spec)
    unknown: dict[str, Any] = {}
    for path in tmp_path.rglob("model.json"):
        unknown[path.parts[-3]] = set(json.loads(path.read_text(encoding="utf-8"))) - known
    assert len(unknown) > 10
    assert unknown.pop("wrong_key") == {"invalid_attribute"}
    if Version(version) < SINCE["enable_lora"]:
        # Refused, and that is tested.
        assert all("enable_lora" in unknown.pop(name) for name in ("adapters", "no_adapters"))
    assert not any(unknown.values()), unknown


def test_the_oldest_and_the_newest_rows_are_among_those_that_are_looked_at() -> None:
    assert {"0.2.0", "0.3.0", "0.5.3.post1", "0.5.5"} <= set(ROWS)


def test_second_engine_of_a_vllm_that_counts_others_is_told_a_larger_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "write_tiny_model", lambda folder, size: folder.mkdir(parents=True))
    shares = {}
    for version in ("0.2.3", "0.3.0", "0.4.0.post1", "0.5.3.post1"):
        cuda.write_all(tmp_path / version, ROWS[version])
        model = json.loads((tmp_path / version / "repository/model/1/model.json").read_text(encoding="utf-8"))
        shares[version] = model["gpu_memory_utilization"]
    assert shares == {name: standin.GPU_SHARE * (2 if name == "0.3.0" else 1) for name in shares}
