"""Inputs that upstream's build.py and compose.py take wrongly, each with what must come of it here.

What upstream does with each was seen by running it: it mixes versions, ignores flags and takes
misspelt values, all with exit code 0, or ends in a traceback.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tritonbuild.cli.parsing import make_parser
from tritonbuild.matrix import Matrix
from tritonbuild.paths import ROOT
from tritonbuild.spec import resolve_spec

Cli = Callable[..., Any]


@dataclass(frozen=True)
class Refused:
    code: int
    error: str
    hint: str


@dataclass(frozen=True)
class Plan:
    """What the dry run must say, and words that it must not."""

    lines: tuple[str, ...]
    without: tuple[str, ...] = ()


# What the line is about, the words after ./build.py, what must come of them.
INPUTS: list[tuple[str, str, Refused | Plan]] = [
    (
        "r24.08 asked for 24.07: base of 24.07 with the vLLM and the version number of 24.08",
        "--container-version=24.07 --upstream-container-version=24.07 --backend=vllm --enable-gpu --dryrun",
        Plan(
            ("row      24.07-cuda-pypi", "triton   2.48.0 from", "vllm     vllm 0.5.0.post1"),
            ("24.08", "0.5.3", "2.49"),
        ),
    ),
    (
        "two container versions in one image",
        "--container-version=24.07 --upstream-container-version=24.08 --backend=vllm",
        Refused(
            2,
            "--upstream-container-version=24.08 and --container-version=24.07 name two releases",
            "same twice",
        ),
    ),
    (
        "r24.08 asked for Triton 2.48.0: container version not known",
        "--version=2.48.0 --dryrun",
        Plan(("row      24.07-cpu-pypi", "triton   2.48.0 from"), ("24.08", "2.49")),
    ),
    (
        "Triton 2.48.0 as 24.08",
        "--version=2.48.0 --upstream-container-version=24.08",
        Refused(2, "--upstream-container-version=24.08 and --version=2.48.0 name two releases", "same twice"),
    ),
    (
        "a vLLM that is none: ignored",
        "--vllm-version=9.9.9",
        Refused(4, "--vllm-version: no cpu row of versions.yaml has vLLM 9.9.9", "--allow-unverified"),
    ),
    (
        "another vLLM than the release's: ignored",
        "--upstream-container-version=24.10 --enable-gpu --vllm-version=0.5.3.post1 --allow-unverified --dryrun",
        Plan(("row      24.10-cuda-pypi", "vllm     vllm 0.5.3.post1", "unverified vLLM 0.5.3.post1")),
    ),
    ("endpoint that is none", "--endpoint=htp", Refused(2, "--endpoint: unknown value 'htp'", "'http'?")),
    ("backend that is none", "--backend=vlm", Refused(2, "--backend: unknown value 'vlm'", "'vllm'?")),
    ("file system that is none", "--filesystem=s4", Refused(2, "--filesystem: unknown value 's4'", "'s3'?")),
    (
        "release that is none",
        "--upstream-container-version=99.99",
        Refused(2, "--upstream-container-version: '99.99' is not a release of the form YY.MM", "two digits"),
    ),
    (
        "GPU metrics without a GPU: a cpu image with the metrics on",
        "--enable-metrics --enable-gpu-metrics",
        Refused(2, "--enable-gpu-metrics needs --enable-gpu", "add --enable-gpu"),
    ),
    ("compose.py without a version: AttributeError", "--dryrun", Plan(("row      24.08-cpu-pypi",))),
    (
        "compose.py's spelling of a dry run, without a version",
        "--dry-run --enable-gpu --backend=python --backend=vllm",
        Plan(("row      24.08-cuda-pypi",)),
    ),
    (
        "sample command of the docs with only the upstream container version: main instead of the release",
        "--upstream-container-version=24.10 --enable-gpu --backend=python --backend=vllm --dryrun",
        Plan(
            ("row      24.10-cuda-pypi", "triton   2.51.0 from", "vllm     vllm 0.5.5"),
            ("main", "dev", "24.08"),
        ),
    ),
    (
        "a Debian host needs --target-platform=linux",
        "--target-platform=linux --target-machine=x86_64 --dryrun",
        Plan(("row      24.08-cpu-pypi",)),
    ),
    (
        "a platform that no image is for",
        "--target-platform=igpu",
        Refused(
            5, "--target-platform igpu cannot be honoured: every image is Debian's", "--target-platform linux"
        ),
    ),
    (
        "the same with a backend of another release",
        "--upstream-container-version=24.10 --backend=vllm:main",
        Refused(5, "24.10-cpu-pypi holds vllm of r24.10, not of 'main'", "--backend=vllm:r24.10"),
    ),
]


@pytest.mark.parametrize(("about", "words", "outcome"), INPUTS, ids=[about for about, _, _ in INPUTS])
def test_what_upstream_takes_wrongly(run_cli: Cli, about: str, words: str, outcome: Refused | Plan) -> None:
    result = run_cli(*words.split())
    if isinstance(outcome, Refused):
        result.assert_refused(outcome.code, error=outcome.error, hint=outcome.hint)
        return
    assert result.code == 0, result.err
    assert result.writes == ()
    assert [line for line in outcome.lines if not re.search(f"^{re.escape(line)}", result.out, re.M)] == []
    # A conflict tells which versions the row does not have; the base's tag holds a date.
    said = re.sub(r"^(conflict|base) .*$|debian:\S+", "", result.out, flags=re.MULTILINE)
    assert [word for word in outcome.without if word in said] == []


# What upstream makes of these with the branch of another month; here each release stands on its own.
OTHER_BRANCHES = [
    ("r25.06 asked for 25.03: base of 25.03, vLLM and number of 25.06", "25.03", "--container-version=25.03"),
    ("sample command with only the upstream version: 26.09dev of main", "26.07", "--backend=vllm"),
]


@pytest.mark.parametrize(
    ("about", "release", "flag"), OTHER_BRANCHES, ids=[about for about, _, _ in OTHER_BRANCHES]
)
def test_a_release_is_never_taken_from_another_branch(
    run_cli: Cli, matrix: Matrix, about: str, release: str, flag: str
) -> None:
    result = run_cli(f"--upstream-container-version={release}", flag, "--enable-gpu", "--dryrun")
    if release not in matrix.releases:
        result.assert_refused(2, error=f"release {release} is not in versions.yaml", hint="known: ")
        return
    assert result.code == 0, result.err
    assert f"row      {release}-cuda-" in result.out
    assert f"triton   {matrix.releases[release].triton} from" in result.out
    assert f"image    tritonserver:{release}-vllm-python-py3" in result.out


@pytest.mark.parametrize("flags", ["--container-version=25.03", "--triton-container-version=25.03"])
def test_two_releases_are_never_mixed(run_cli: Cli, flags: str) -> None:
    run_cli("--upstream-container-version=25.06", flags, "--enable-gpu").assert_refused(
        2, error="25.06", hint=""
    )


def test_a_release_is_built_of_its_own_parts_whatever_its_neighbours_are(
    run_cli: Cli, matrix: Matrix
) -> None:
    """Upstream's r25.06, asked for 25.03, takes the base of 25.03 and the vLLM and the number of 25.06."""
    for release, facts in matrix.releases.items():
        for row in (r for r in matrix.rows() if r.release == release and r.variant == "cuda"):
            words = [f"--upstream-container-version={release}", f"--container-version={release}"]
            words += ["--enable-gpu", f"--server-source={row.source}", "--dryrun"]
            if not all(source.commit for source in resolve_spec(matrix, row).sources):
                words.append("--allow-unverified")
            result = run_cli(*words)
            assert result.code == 0, result.err
            assert f"row      {row}\n" in result.out
            assert f"triton   {facts.triton} from" in result.out
            own = {facts.vllm.public, facts.vllm.ngc}
            engine = matrix.engine(row)
            assert engine is None or engine.version in own or engine.substitute


@pytest.mark.parametrize("host", ["debian", "ubuntu", "rhel", "arch", ""])
def test_the_distribution_of_the_host_changes_nothing(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Upstream takes a Debian host for RHEL and ends in a KeyError."""
    expected = run_cli("--dryrun").out
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": host} if host else {})
    monkeypatch.setattr(platform, "platform", lambda *_, **__: f"Linux-{host}")
    assert run_cli("--dryrun").out == expected


def test_two_dry_runs_say_the_same_and_nothing_of_where_the_checkout_is(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Upstream's dry run names files by the absolute path of the checkout."""
    words = ("--dryrun", "--enable-gpu", "--build-id=7")
    first = run_cli(*words).out
    monkeypatch.chdir(tmp_path)
    assert run_cli(*words).out == first
    assert str(ROOT) not in first
    assert str(Path.home()) not in first
    assert "--file build/24.08-cuda-pypi/context/Dockerfile" in first


# Every flag of upstream's build.py, of the branches r23.10 to r26.08.
UPSTREAM = re.findall(
    r"\S+",
    """
    --backend --build-dir --build-id --build-parallel --build-presets-file --build-secret --build-sha
    --cache --cmake-dir --container-memory --container-prebuild-command --container-version --dcgm-version
    --dryrun --enable-all --enable-cpu-metrics --enable-gpu --enable-gpu-metrics --enable-logging
    --enable-mali-gpu --enable-metrics --enable-nvtx --enable-stats --enable-tracing --endpoint --filesystem
    --build-type --extra-backend-cmake-arg --extra-core-cmake-arg --github-organization
    --min-compute-capability --override-backend-cmake-arg --override-core-cmake-arg --repo-tag
    --target-machine --target-platform --image --install-dir --library-paths --no-container-build --no-container-interactive --no-container-pull
    --no-container-source --no-core-build --no-force-clone --ort-openvino-version --ort-version --quiet
    --release-version --repoagent --rhel-py-version --standalone-openvino-version --tmp-dir
    --triton-container-version --triton-wheels-dependencies-group --upstream-container-version
    --use-user-docker-config --verbose --version --vllm-version -j -q -v
    """,
)


def test_every_flag_of_upstream_is_known() -> None:
    known = make_parser()[1]["build"].known_flags()
    assert [flag for flag in UPSTREAM if flag not in known] == []
