"""Flags that say how a server is compiled: from words to the server that a row gets, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.source_standins import FILES, matrix_text
from tests.unit.driver.conftest import Outcome
from tritonbuild.cli import choosing
from tritonbuild.cli.compile_flags import compile_by_flags, compile_remarks
from tritonbuild.cli.parsing import parse_arguments
from tritonbuild.errors import NothingSelected, UnsupportedFeature, UsageError
from tritonbuild.identifiers import BuildId
from tritonbuild.labels import static_labels
from tritonbuild.loading import load_matrix
from tritonbuild.rendering import render_dockerfile
from tritonbuild.spec import BuildSpec, resolve_spec
from tritonbuild.tags import image_tag

Cli = Callable[..., Outcome]
COMMITS = {name: f"{number:040x}" for number, name in enumerate(FILES, start=10)}


@pytest.fixture(scope="module")
def matrix_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("matrix") / "versions.yaml"
    text = matrix_text(COMMITS, wheel="a" * 64, boost="b" * 64, fingerprint="C" * 40)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def row(matrix_file: Path) -> Callable[[str], BuildSpec]:
    matrix = load_matrix(matrix_file)

    def resolve(variant: str) -> BuildSpec:
        return resolve_spec(matrix, BuildId("24.08", variant, "source"))

    return resolve


@pytest.fixture
def ask(row: Callable[[str], BuildSpec]) -> Callable[..., BuildSpec]:
    """A function from a variant and flags to the row as they ask for it."""

    def compiled(variant: str, *flags: str) -> BuildSpec:
        return compile_by_flags(parse_arguments(["build", *flags]), row(variant))

    return compiled


Ask = Callable[..., BuildSpec]


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "flags", [[], ["--backend=vllm"], ["--backend=python:r24.08"], ["--cache=local"], ["-j7"]]
)
def test_without_a_feature_flag_the_server_is_the_rows_own(ask: Ask, variant: str, flags: list[str]) -> None:
    spec = ask(variant, *flags)
    assert spec.is_committed
    assert spec.name == f"24.08-{variant}-source"
    assert "compiled" not in image_tag(spec)


def test_the_rows_own_server_has_all_that_upstreams_image_has(ask: Ask) -> None:
    cpu, cuda = ask("cpu").plan, ask("cuda").plan
    assert cpu
    assert cuda
    assert [part.name for part in cuda.parts] == ["tritonserver", "python", "checksum", "local", "redis"]
    switches = {d.name: d.value for d in cuda.server.definitions if d.type == "BOOL"}
    assert {name for name, value in switches.items() if value == "OFF"} == {"TRITON_ENABLE_MALI_GPU"}
    gpu = {"GPU", "METRICS_GPU", "NVTX", "TENSORRT", "MALI_GPU"}
    switches = {d.name: d.value for d in cpu.server.definitions if d.type == "BOOL"}
    assert {name for name, value in switches.items() if value == "OFF"} == {f"TRITON_ENABLE_{n}" for n in gpu}


def test_feature_flags_choose_what_is_compiled(ask: Ask) -> None:
    spec = ask("cpu", "--enable-logging", "--endpoint=http", "--filesystem=s3")
    assert spec.server.features.model_dump() == {
        "endpoints": ("http",),
        "filesystems": ("s3",),
        "options": ("logging",),
    }
    assert not spec.is_committed
    assert spec.plan
    assert [part.name for part in spec.plan.parts] == ["tritonserver", "python"]


def test_a_server_for_gpus_is_one_whether_or_not_that_is_said_again(ask: Ask) -> None:
    assert ask("cuda", "--endpoint=http").plan == ask("cuda", "--endpoint=http", "--enable-gpu").plan
    assert ask("cuda", "--endpoint=http").server.features.options == ("gpu",)


def test_an_override_counts_in_what_the_image_promises(ask: Ask) -> None:
    spec = ask("cpu", "--override-core-cmake-arg=TRITON_ENABLE_S3=OFF")
    assert spec.server.features.filesystems == ("azure_storage", "gcs")
    assert spec.server.features.endpoints == ("grpc", "http", "sagemaker", "vertex-ai")


def test_what_flags_changed_stands_in_the_label_and_never_under_the_release_tag(ask: Ask) -> None:
    spec = ask("cpu", "--build-type=Debug", "--extra-core-cmake-arg=A=b c")
    label = static_labels(spec)["io.tritonbuild.compiled"]
    assert label.split(" tritonserver:")[0] == "tritonserver:A=b c"
    assert "python:CMAKE_BUILD_TYPE=Debug" in label
    assert image_tag(spec) == "24.08-vllm-python-py3-cpu-compiled"
    assert spec.name == "24.08-cpu-source-compiled"
    text = render_dockerfile(spec)
    assert '        "-DA=b c" \\\n' in text
    assert "--config Debug" in text
    assert "xargs strip" not in text
    assert "io.tritonbuild.compiled" not in static_labels(ask("cpu"))


def test_sources_are_fetched_at_the_commits_of_the_release(ask: Ask) -> None:
    text = render_dockerfile(ask("cpu"))
    fetched = dict(re.findall(r"^    fetch (\w+) r24\.08 (\w+); ", text, flags=re.MULTILINE))
    assert fetched == COMMITS


def test_a_fork_is_asked_for_the_same_commits(ask: Ask) -> None:
    spec = ask("cpu", "--github-organization=https://git.example/fork")
    assert {source.repository: source.commit for source in spec.sources} == COMMITS
    text = render_dockerfile(spec)
    assert 'git fetch -q --depth 1 "https://git.example/fork/$1.git"' in text
    # CMake asks for the fork, and sources of old releases for upstream: both get what was fetched.
    redirected = re.findall(r'--add "url\.file:\S+\.insteadOf" (\S+); ', text)
    assert redirected == ["https://git.example/fork/", "https://github.com/triton-inference-server/"]


def test_a_commit_pins_itself(ask: Ask) -> None:
    spec = ask("cpu", f"--repo-tag=core:{'d' * 40}", f"--backend=python:{'e' * 40}")
    pinned = {source.repository: source.commit for source in spec.sources}
    assert (pinned["core"], pinned["python_backend"]) == ("d" * 40, "e" * 40)
    assert compile_remarks(spec) == []


def test_a_branch_without_a_commit_needs_leave_and_is_said(ask: Ask) -> None:
    with pytest.raises(NothingSelected, match="no commit for core at main") as failure:
        ask("cpu", "--repo-tag=core:main")
    assert "--allow-unverified" in str(failure.value.hint)
    spec = ask("cpu", "--repo-tag=core:main", "--allow-unverified")
    assert "unpinned:core=main" in static_labels(spec)["io.tritonbuild.compiled"]
    assert [remark for remark in compile_remarks(spec) if "core is taken as main" in remark]
    assert "    fetch core main; \\\n" in render_dockerfile(spec)


def test_an_image_that_cannot_be_asked_over_http_is_said(ask: Ask) -> None:
    assert "--endpoint=http" in compile_remarks(ask("cpu", "--endpoint=grpc"))[0]
    assert "--endpoint=grpc" in compile_remarks(ask("cpu", "--endpoint=http"))[0]


@pytest.mark.parametrize(
    ("flags", "error", "hint"),
    [
        (["--repo-tag=core"], "--repo-tag: 'core' is not NAME:TAG", "core:r24.08"),
        (["--repo-tag=cor:main"], "unknown component 'cor'", "did you mean 'core'?"),
        (["--repo-tag=core:"], "'' is not a branch, tag or commit", "r24.08"),
        (["--repo-tag=core:a b"], "'a b' is not a branch", "r24.08"),
        (["--repo-tag=core:$(id)"], "'$(id)' is not a branch", "r24.08"),
        (["--repo-tag=core:-x"], "'-x' is not a branch", "r24.08"),
        (["--repo-tag=core:a/../b"], "is not a branch", "r24.08"),
        (["--cache=lokal"], "--cache: unknown value 'lokal'", "did you mean 'local'?"),
        (["--cache=local:a;b"], "--cache: 'a;b' is not a branch", "r24.08"),
        (["--repoagent=checksun"], "unknown value 'checksun'", "did you mean 'checksum'?"),
        (["--extra-core-cmake-arg=A"], "'A' is not NAME=VALUE", "CMAKE_CXX_STANDARD=20"),
        (["--extra-core-cmake-arg=A=$(id)"], "is not NAME=VALUE", "no quotes, dollar signs"),
        (['--extra-core-cmake-arg=A=x" && id "'], "is not NAME=VALUE", "no quotes, dollar signs"),
        (["--extra-core-cmake-arg=A=x\nRUN id"], "is not NAME=VALUE", "no quotes, dollar signs"),
        (["--extra-core-cmake-arg=A=`id`"], "is not NAME=VALUE", "no quotes, dollar signs"),
        (["--extra-core-cmake-arg=A=x\\"], "is not NAME=VALUE", "no quotes, dollar signs"),
        (["--extra-core-cmake-arg=A B=x"], "is not NAME=VALUE", "no quotes, dollar signs"),
        (
            ["--override-core-cmake-arg=TRITON_ENABLE_LOGING=ON"],
            "TRITON_ENABLE_LOGING is not",
            "TRITON_ENABLE_LOGGING",
        ),
        (["--override-core-cmake-arg=CMAKE_INSTALL_PREFIX=/x"], "CMAKE_INSTALL_PREFIX is not", "known: "),
        (["--extra-backend-cmake-arg=A=1"], "is not BACKEND:NAME=VALUE", "python:"),
        (["--override-backend-cmake-arg=onnx:A=1"], "no backend 'onnx' is compiled", "python:NAME=VALUE"),
        (["--build-type=release"], "--build-type: unknown value 'release'", "did you mean 'Release'?"),
        (["--min-compute-capability=8"], "'8' is not a compute capability", "7.5"),
        (["--github-organization=git@x:y"], "'git@x:y' is not a URL", "https://"),
        (["--github-organization=https://user:pass@x.example/y"], "is not a URL", ".netrc"),
        (["--enable-metrics"], "--enable-metrics needs --enable-stats", "add --enable-stats"),
        (
            ["--endpoint=http", "--enable-tracing"],
            "--enable-tracing needs --enable-stats",
            "add --enable-stats",
        ),
        (
            ["--source-mirror=/srv", "--github-organization=https://git.example/x"],
            "are asked from https://git.example/x",
            "give one of",
        ),
    ],
)
def test_what_is_malformed_or_cannot_be_is_refused(ask: Ask, flags: list[str], error: str, hint: str) -> None:
    with pytest.raises(UsageError) as failure:
        ask("cpu", *flags)
    assert error in failure.value.message
    assert hint in str(failure.value.hint)


@pytest.mark.parametrize(
    "flag",
    [
        "--repo-tag=core:r24.08",
        "--cache=local",
        "--repoagent=checksum",
        "--extra-core-cmake-arg=A=1",
        "--override-core-cmake-arg=TRITON_ENABLE_GPU=ON",
        "--extra-backend-cmake-arg=python:A=1",
        "--override-backend-cmake-arg=python:A=1",
        "--build-type=Debug",
        "--min-compute-capability=7.5",
        "--github-organization=https://git.example/x",
        "--source-mirror=https://git.example",
    ],
)
def test_a_prebuilt_server_is_not_compiled_otherwise(run_cli: Cli, flag: str) -> None:
    name = flag.partition("=")[0]
    run_cli("--dryrun", flag).assert_refused(
        5, error=f"its server is not compiled, so {name} cannot be honoured", hint="--server-source source"
    )


def test_a_mirror_that_is_no_folder_is_refused(run_cli: Cli, compiled_rows: None, tmp_path: Path) -> None:
    run_cli("build", "24.08-cpu-source", "--dryrun", f"--source-mirror={tmp_path}/nowhere").assert_refused(
        2, error="is neither a URL nor a folder", hint="ORGANIZATION/REPOSITORY.git"
    )


@pytest.fixture
def compiled_rows(monkeypatch: pytest.MonkeyPatch, matrix_file: Path) -> None:
    """The command line knows the rows of these tests only, with all that is committed for them."""
    monkeypatch.setattr(choosing, "MATRIX", matrix_file)
    for name in ("check_rendered", "check_lock"):
        monkeypatch.setattr(f"tritonbuild.cli.verbs.build.{name}", lambda *_: None)


@pytest.mark.usefixtures("compiled_rows")
def test_a_dry_run_shows_sources_definitions_and_build_arguments(run_cli: Cli, tmp_path: Path) -> None:
    out = run_cli("--server-source=source", "--dryrun", f"--source-mirror={tmp_path}", "-j", "3").out
    assert f"source   core r24.08, {COMMITS['core']}\n" in out
    assert "compile  tritonserver: -DTRT_VERSION=${TRT_VERSION} " in out
    assert "--build-arg SOURCE_MIRROR=file:///run/sources --build-arg BUILD_PARALLEL=3 " in out
    out = run_cli("--server-source=source", "--dryrun", "--source-mirror=https://git.example/all").out
    assert "--build-arg SOURCE_MIRROR=https://git.example/all " in out
    assert "BUILD_PARALLEL" not in out


def test_what_needs_cuda_is_not_compiled_into_a_cpu_server(ask: Ask) -> None:
    with pytest.raises(UnsupportedFeature, match="--enable-nvtx cannot be compiled without CUDA"):
        ask("cpu", "--enable-nvtx", "--endpoint=http")
    assert "nvtx" in ask("cuda", "--enable-nvtx", "--endpoint=http").server.features.options
