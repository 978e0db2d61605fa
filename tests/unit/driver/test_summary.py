"""The last lines of a build."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable

from rich.console import Console

from tritonbuild.pipeline import BuildResult
from tritonbuild.spec import BuildSpec
from tritonbuild.summary import closing_lines, largest_parts, parts_table, plan_lines

ResultOf = Callable[..., BuildResult]


def test_the_summary_says_what_was_built(cpu: BuildSpec, result_of: ResultOf) -> None:
    text = "\n".join(closing_lines(result_of(cpu, tags=("a:1", "b:2"))))
    assert "image    a:1, b:2\n" in text
    assert "id       sha256:1\n" in text
    assert "size     1300 MB uncompressed\n" in text
    assert "holds    Triton 2.49.0, vLLM 0.30.0, torch 2.13.0+cpu\n" in text
    assert "smoke    12 passed, 1 skipped\n" in text
    assert "seconds  build 61.2" in text
    assert "skipped  test_gpu: no GPU here\n" in text
    assert "log      build/x/build.log" in text


def test_the_lines_to_try_can_be_pasted(cpu: BuildSpec, result_of: ResultOf) -> None:
    docker, curl = (shlex.split(line) for line in closing_lines(result_of(cpu))[-2:])
    assert docker[:3] == ["docker", "run", "--rm"]
    assert docker[-1] == "tritonserver:a-tag"
    assert "--gpus" not in docker
    assert curl[3] == "localhost:8000/v2/models/vllm_model/generate"
    request = json.loads(curl[-1])
    assert request["text_input"] == "What is Triton Inference Server?"
    assert request["parameters"] == {"stream": False, "temperature": 0}


def test_the_summary_says_what_nobody_proved(cpu: BuildSpec, result_of: ResultOf) -> None:
    assert "unverified" not in "\n".join(closing_lines(result_of(cpu)))
    result = dataclasses.replace(
        result_of(cpu), spec=dataclasses.replace(cpu, unverified=("vLLM 1", "its lock"))
    )
    lines = closing_lines(result)
    assert "unverified vLLM 1" in lines
    assert "unverified its lock" in lines


def test_a_cuda_image_is_tried_with_gpus(cuda: BuildSpec, result_of: ResultOf) -> None:
    assert "--gpus all" in closing_lines(result_of(cuda))[-2]


def test_the_summary_says_whether_the_image_was_proven(cpu: BuildSpec, result_of: ResultOf) -> None:
    assert "smoke    not run" in closing_lines(result_of(cpu, smoke=None))
    reused = "\n".join(closing_lines(result_of(cpu, smoke_reused=True)))
    assert "already proven, same image and tests" in reused


def test_the_largest_parts_come_first_and_add_up(cpu: BuildSpec, result_of: ResultOf) -> None:
    facts = {"parts": {f"part {n}": n * 1_000_000 for n in range(1, 14)}}
    result = result_of(cpu, facts=facts, size=100_000_000)
    assert largest_parts(result)[0] == ("part 13", 13_000_000)
    assert len(largest_parts(result)) == 10
    console = Console(width=100)
    with console.capture() as capture:
        console.print(parts_table(result))
    text = capture.get()
    assert re.search(r"^ *6 +all other parts", text, flags=re.MULTILINE)  # 1 + 2 + 3
    assert re.search(r"^ *100 +the image, 1\.10 x the sum of its parts", text, flags=re.MULTILINE)


def test_a_plan_names_every_choice(cpu: BuildSpec) -> None:
    lines = plan_lines(
        cpu, ["docker", "build"], tags=["a:1", "b:2"], base="debian:x", server=None, model=None
    )
    assert "row      24.08-cpu-pypi" in lines
    assert "image    a:1, b:2" in lines
    assert "base     debian:x" in lines
    assert "model    none baked in" in lines
    assert "budget   2600 MB" in lines
    assert "  docker build" in lines
    assert "  docker tag IMAGE_ID a:1" in lines
