from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tritonbuild.labels import Origins, build_labels, describe_image, static_labels
from tritonbuild.matrix import Matrix
from tritonbuild.spec import BuildSpec, resolve_spec

ORIGINS = Origins(base="debian:x", base_name="debian:x")


def _describe(spec: BuildSpec, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"lock_sha256": "ab", "revision": "c0ffee", "origins": ORIGINS, "model": None}
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
    text = [describe_image(cpu, lock_sha256="a", revision="b", origins=ORIGINS, model=None) for _ in range(2)]
    assert text[0] == text[1]
    assert text[0].endswith("}\n")


def test_image_json_names_the_image_a_server_came_from(spec_of: Callable[[str], BuildSpec]) -> None:
    exact = "mirror.example/nvidia/tritonserver:24.08-py3@sha256:2"
    origins = Origins(base="x", base_name="x", base_digest="sha256:1", server=exact, server_digest="sha256:2")
    image = _describe(spec_of("24.08-cuda-ngc"), origins=origins)
    assert image["triton"]["from"] == exact
    assert image["triton"]["digest"] == "sha256:2"
    assert image["base_digest"] == "sha256:1"


def test_labels_of_a_build_name_what_was_really_pulled() -> None:
    origins = Origins(base="m/x:1@sha256:1", base_name="m/x:1", base_digest="sha256:1", server="m/y@sha256:2")
    assert build_labels(origins, revision="c0ffee") == {
        "org.opencontainers.image.revision": "c0ffee",
        "io.tritonbuild.base": "m/x:1@sha256:1",
        "org.opencontainers.image.base.digest": "sha256:1",
        "org.opencontainers.image.base.name": "m/x:1",
        "io.tritonbuild.server": "m/y@sha256:2",
    }


def test_a_base_that_was_made_here_has_no_digest_to_name() -> None:
    labels = build_labels(Origins(base="mmdebstrap bookworm", base_name="made:1"), revision="c")
    assert labels["org.opencontainers.image.base.name"] == "made:1"
    assert "org.opencontainers.image.base.digest" not in labels
    assert "io.tritonbuild.server" not in labels
