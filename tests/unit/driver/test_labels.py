from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tritonbuild.labels import describe_image, static_labels
from tritonbuild.matrix import Matrix
from tritonbuild.spec import BuildSpec, resolve_spec


def _describe(spec: BuildSpec, **changes: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {"lock_sha256": "ab", "revision": "c0ffee", "base": "debian:x", "model": None}
    loaded: dict[str, Any] = json.loads(describe_image(spec, **{**given, **changes}))
    return loaded


def test_labels_name_row_and_versions(cpu: BuildSpec, cuda: BuildSpec) -> None:
    labels = static_labels(cpu)
    assert labels["io.tritonbuild.row"] == "24.08-cpu-pypi"
    assert labels["io.tritonbuild.triton"] == labels["com.nvidia.tritonserver.version"] == "2.49.0"
    assert labels["io.tritonbuild.vllm"] == cpu.vllm
    assert labels["org.opencontainers.image.version"] == "24.08"
    assert "io.tritonbuild.cuda" not in labels
    assert static_labels(cuda)["io.tritonbuild.cuda"] == cuda.engine.cuda
    assert static_labels(cuda)["io.tritonbuild.driver-min"] == cuda.engine.driver_min


def test_label_values_need_no_quoting(matrix: Matrix) -> None:
    for row in matrix.rows():
        for value in static_labels(resolve_spec(matrix, row)).values():
            assert not set(value) & set('"\\$\n`')


def test_image_json_holds_every_pin(cpu: BuildSpec) -> None:
    image = _describe(cpu, model="SmolLM2-135M-Instruct")
    assert image["row"] == "24.08-cpu-pypi"
    assert (image["release"], image["variant"], image["source"]) == ("24.08", "cpu", "pypi")
    assert image["triton"]["version"] == "2.49.0"
    assert image["triton"]["from"] == cpu.server.requirement
    assert image["triton"]["sha256"] == cpu.server.sha256
    assert image["triton"]["features"]["endpoints"] == ["grpc", "http", "sagemaker", "vertex-ai"]
    assert image["vllm"]["version"] == cpu.vllm
    assert image["vllm"]["torch"] == cpu.engine.torch
    assert image["lock"] == {"sha256": "ab", "cutoff": cpu.engine.cutoff.isoformat()}
    assert image["revision"] == "c0ffee"
    assert image["base"] == "debian:x"
    assert image["model"] == "SmolLM2-135M-Instruct"


def test_image_json_says_why_it_deviates(cpu: BuildSpec) -> None:
    image = _describe(cpu)
    assert all(entry["reason"] for entry in [*image["overrides"], *image["excludes"], *image["conflicts"]])
    assert {entry["package"] for entry in image["excludes"]} >= {"triton"}
    assert [c["chosen"] for c in image["conflicts"] if c["about"] == "vllm"] == ["0.5.3.post1"]


def test_image_json_is_the_same_every_time(cpu: BuildSpec) -> None:
    text = [describe_image(cpu, lock_sha256="a", revision="b", base="c", model=None) for _ in range(2)]
    assert text[0] == text[1]
    assert text[0].endswith("}\n")


@pytest.mark.parametrize("row", ["24.08-cuda-ngc"])
def test_image_json_names_the_image_a_server_came_from(spec_of: Callable[[str], BuildSpec], row: str) -> None:
    spec = spec_of(row)
    assert _describe(spec)["triton"]["from"] == spec.server.pinned_ref
