"""The CMake definitions of a server from source, against what upstream's build.py passes.

``data/cmake_definitions.json`` holds for each release and list of flags what a dry run of upstream's
build.py of that release wrote into its build script (``--dryrun --no-container-source
--target-platform=linux --target-machine=x86_64``); the build folder is replaced by ``<build>``, and
parts that our images never have are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tritonbuild.cli.compile_flags import compile_request
from tritonbuild.cli.parsing import parse_arguments
from tritonbuild.compileplan import FOLDER, CompilePlan
from tritonbuild.compiling import plan_compilation

ORGANIZATION = "https://github.com/triton-inference-server"
DRY_RUNS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "cmake_definitions.json").read_text(encoding="utf-8")
)


def _plan(release: str, triton: str, *flags: str) -> CompilePlan:
    options = parse_arguments(["build", *flags])
    return plan_compilation(
        compile_request(options),
        release=release,
        triton=triton,
        organization=options.github_organization or ORGANIZATION,
        tag=f"r{release}",
    )


def _triton(run: dict[str, Any]) -> str:
    words = dict(word.split("=", 1) for word in run["parts"]["server"]["definitions"].split())
    return str(words["TRITON_VERSION:STRING"])


@pytest.mark.parametrize("run", DRY_RUNS, ids=lambda run: f"{run['release']} {run['flags']}")
def test_the_definitions_are_those_of_upstream(run: dict[str, Any]) -> None:
    plan = _plan(run["release"], _triton(run), *run["flags"].split())
    ours = {
        "server" if part.kind == "server" else part.name: " ".join(map(str, part.definitions)).replace(
            f"{FOLDER}/", "<build>/"
        )
        for part in plan.parts
    }
    assert ours == {name: part["definitions"] for name, part in run["parts"].items()}


@pytest.mark.parametrize("run", DRY_RUNS, ids=lambda run: f"{run['release']} {run['flags']}")
def test_each_part_is_taken_from_where_upstream_takes_it(run: dict[str, Any]) -> None:
    plan = _plan(run["release"], _triton(run), *run["flags"].split())
    ours = {
        part.name: f"{plan.organization}/{part.repository}.git {part.tag}"
        for part in plan.parts
        if part.kind != "server"
    }
    theirs = {name: part["source"] for name, part in run["parts"].items() if name != "server"}
    assert ours == theirs


def test_the_table_knows_every_release_it_should_and_is_not_empty() -> None:
    assert {run["release"] for run in DRY_RUNS} >= {
        "23.10",
        "24.02",
        "24.03",
        "24.08",
        "25.06",
        "26.02",
        "26.07",
    }
    assert len(DRY_RUNS) > 50
