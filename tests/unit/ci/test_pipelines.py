"""The pipelines of GitHub and GitLab are well-formed, and say to build.py only what it understands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jq
import pytest
import yaml

from tritonbuild.cli import main
from tritonbuild.cli.parsing import parse_arguments
from tritonbuild.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
GITLAB = [ROOT / ".gitlab-ci.yml", ROOT / ".gitlab/row.yml"]
COMMAND = re.compile(r"\./build\.py ([^\n|>;)]+)")


def check(*words: str | Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a parsed file."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def commands() -> list[str]:
    """Return the arguments of every call of build.py in the pipelines."""
    found = []
    for path in (*WORKFLOWS, *GITLAB):
        for text in texts(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found += COMMAND.findall(text)
    return found


def test_workflows_of_github_are_what_github_takes() -> None:
    assert [path.name for path in WORKFLOWS if path.name == "ci.yml"]
    check("--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


def test_pipeline_of_gitlab_is_what_gitlab_takes() -> None:
    check("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", *GITLAB)


def test_workflows_of_github_have_no_known_hole() -> None:
    zizmor = Path(sys.executable).parent / "zizmor"
    result = subprocess.run(
        [zizmor, "--offline", "--no-progress", *WORKFLOWS], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_build_py_understands_its_calls(command: str) -> None:
    # What the shell fills in stands for one word that any flag takes.
    words = [re.sub(r"\$\{?[\w\[\]@:+,-]+\}?", "x.example/y", word) for word in shlex.split(command)]
    words = [word for word in words if word != "x.example/y"] if "--json" in words else words
    parse_arguments(words)


def test_pipelines_name_no_row_and_no_release() -> None:
    for path in (*WORKFLOWS, *GITLAB, ROOT / ".gitlab/rows.jq"):
        assert not re.search(r"\b2[3-9]\.(0[1-9]|1[0-2])-", path.read_text(encoding="utf-8")), path


def test_child_pipeline_of_gitlab_has_a_job_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "*-cpu-pypi", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    program = (ROOT / ".gitlab/rows.jq").read_text(encoding="utf-8")
    pipeline = jq.compile(program).input_value(rows).first()
    jobs = {name: job for name, job in pipeline.items() if name != "include"}
    assert [job["variables"]["ROW"] for job in jobs.values()] == [row["row"] for row in rows]
    assert all(job["extends"] == ".build" for job in jobs.values())


def test_default_is_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "*-cpu-pypi", "--json", "--default"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
