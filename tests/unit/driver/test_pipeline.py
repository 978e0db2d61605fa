"""The order of the stages, with every one of them replaced by a stand-in."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import pytest
from docker.errors import ImageNotFound

from tritonbuild import buildkit, inspecting, pipeline, proving, smoke, turns
from tritonbuild.buildkit import Builder
from tritonbuild.console import Console
from tritonbuild.context import BakedFolder
from tritonbuild.errors import Busy, CommandFailed, ImageRejected, OverBudget, SmokeFailed, UsageError
from tritonbuild.images import FoundImage, PullPolicy
from tritonbuild.matrix import Matrix
from tritonbuild.pipeline import BuildOptions, BuildResult, build_row, stage_row
from tritonbuild.proving import smoke_row
from tritonbuild.records import read_record, update_record
from tritonbuild.rendering import ModelFrom, render_dockerfile
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec
from tritonbuild.turns import Turn
from tritonbuild.variation import vary

ID = "sha256:" + "1" * 64
ROW = "24.08-cpu-pypi"


_RENDERED: dict[tuple[str, str], str] = {}


def _render_once(spec: BuildSpec, *, model_from: ModelFrom) -> str:
    """Render for real, but not for each of these tests anew."""
    key = (str(spec.row), model_from)
    if key not in _RENDERED:
        _RENDERED[key] = render_dockerfile(spec, model_from=model_from)
    return _RENDERED[key]


class Stages:
    """Stands in for every stage: notes who was called, and can be told how each ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.arguments: dict[str, Any] = {}
        self.failures: dict[str, BaseException] = {}
        self.facts = facts
        self.size = 1_300_000_000
        self.image_id = ID
        self.base = FoundImage(reference="debian:x", image_id="sha256:0", origin="debian:x")
        self.server: FoundImage | None = None
        self.client = SimpleNamespace(images=SimpleNamespace(get=self._image))

        def stage(owner: Any, name: str, answer: Callable[..., Any]) -> None:
            def stand_in(*given: Any, **named: Any) -> Any:
                self.calls.append(name)
                self.arguments[name] = (given, named)
                if name in self.failures:
                    raise self.failures[name]
                return answer(*given, **named)

            monkeypatch.setattr(owner, name, stand_in)

        monkeypatch.setattr(pipeline, "render_dockerfile", _render_once)
        stage(pipeline, "check_rendered", lambda _: None)
        stage(pipeline, "check_lock", lambda _: None)
        stage(pipeline, "ensure_engine", lambda _: self.client)
        stage(proving, "ensure_engine", lambda _: self.client)
        stage(buildkit, "find_builder", lambda: Builder(("docker", "build")))
        stage(pipeline, "ensure_base", lambda *_, **__: self.base)
        stage(pipeline, "ensure_server", lambda *_: self.server)
        stage(pipeline, "locate_wheels", lambda *_: [Path("a.whl")])
        stage(pipeline, "read_revision", lambda: "c0ffee")
        stage(pipeline, "stage_context", lambda *_, **__: None)
        stage(pipeline, "collect_secrets", lambda *_, **__: {"ca": Path("ca.pem")})
        stage(buildkit, "build", lambda *_, **__: self.image_id)
        stage(inspecting, "read_facts", lambda *_: self.facts)
        stage(smoke, "run_smoke", lambda _, __, image_id, *___, **____: self.proof(image_id))
        stage(pipeline, "tag_image", lambda *_: None)

    def _image(self, name: str) -> Any:
        if name == "absent":
            raise ImageNotFound(name)
        attributes = {"Id": ID, "Size": self.size, "Created": "now", "RootFS": {"Layers": ["sha256:a"]}}
        history = [{"CreatedBy": "COPY x", "Size": self.size}]
        return SimpleNamespace(id=ID, attrs=attributes, history=lambda: history)

    def proof(self, image_id: str) -> SmokeResult:
        return SmokeResult(
            image_id=image_id,
            tests_sha256=smoke.tests_fingerprint(),
            passed=12,
            failed=0,
            skipped=("test_gpu: no GPU here",),
        )


@pytest.fixture
def stages(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cpu: BuildSpec,
    facts_of: Callable[[BuildSpec], dict[str, Any]],
) -> Stages:
    return Stages(monkeypatch, tmp_path / ROW, facts_of(cpu))


@pytest.fixture
def build(stages: Stages, cpu: BuildSpec) -> Callable[..., BuildResult]:
    """A function that builds the cpu row with every stage replaced."""

    def run(**options: Any) -> BuildResult:
        stages.calls.clear()
        return build_row(cpu, BuildOptions(build_dir=stages.folder.parent, **options), Console(quiet=True))

    return run


Build = Callable[..., BuildResult]

ORDER = [
    "check_rendered",
    "check_lock",
    "ensure_engine",
    "find_builder",
    "ensure_base",
    "ensure_server",
    "locate_wheels",
    "read_revision",
    "stage_context",
    "collect_secrets",
    "build",
    "read_facts",
    "run_smoke",
    "tag_image",
]


def test_the_stages_run_in_their_order(build: Build, stages: Stages) -> None:
    result = build()
    assert stages.calls == ORDER
    assert result.image_id == ID
    assert result.size == 1_300_000_000
    assert result.tags == ("tritonserver:24.08-vllm-python-py3-cpu",)
    assert result.smoke
    assert result.smoke.passed == 12
    assert not result.smoke_reused
    assert set(result.seconds) == {"check", "engine", "context", "build", "inspect", "smoke", "tag"}


@pytest.mark.parametrize("stage", ORDER)
def test_a_failure_stops_everything_after_it_and_frees_the_row(
    build: Build, stages: Stages, stage: str
) -> None:
    failure = CommandFailed(f"{stage} failed")
    stages.failures[stage] = failure
    with pytest.raises(CommandFailed) as raised:
        build()
    assert raised.value is failure
    assert stages.calls == ORDER[: ORDER.index(stage) + 1]
    assert ": failed (" in (stages.folder / "build.log").read_text(encoding="utf-8")
    stages.failures.clear()
    assert build().image_id == ID


def test_an_interrupted_build_starts_again(build: Build, stages: Stages) -> None:
    stages.failures["build"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        build()
    stages.failures.clear()
    assert build().smoke


def test_each_stage_gets_what_the_ones_before_it_made(build: Build, stages: Stages, cpu: BuildSpec) -> None:
    secret = Path("token")
    build(
        tags=("a:1", "b:2"),
        build_secrets={"token": secret},
        ca_cert=Path("own.pem"),
        base_override="own:1",
        pulling=PullPolicy(allowed=False, always=True),
        no_cache=True,
    )
    (_, _, policy, _), base = stages.arguments["ensure_base"]
    assert policy == PullPolicy(allowed=False, always=True)
    assert base == {"override": "own:1"}
    _, context = stages.arguments["stage_context"]
    assert context["wheels"] == [Path("a.whl")]
    assert context["dockerfile"] == (cpu.folder / "Dockerfile").read_text(encoding="utf-8")
    image = json.loads(context["image_json"])
    assert (image["revision"], image["base"], image["model"]) == (
        "c0ffee",
        "debian:x",
        "SmolLM2-135M-Instruct",
    )
    _, secrets = stages.arguments["collect_secrets"]
    assert secrets == {"ca_cert": Path("own.pem"), "given": {"token": secret}}
    (_, argv, iidfile, _), _ = stages.arguments["build"]
    words = " ".join(map(str, argv))
    assert "--tag" not in words  # nothing has proven itself yet
    assert "--build-arg BASE_IMAGE=debian:x" in words
    assert "--label org.opencontainers.image.revision=c0ffee" in words
    assert "--label io.tritonbuild.base=debian:x" in words
    assert "--secret id=ca,src=ca.pem" in words
    assert "--no-cache" in words
    assert argv[-1] == str(stages.folder / "context")
    assert iidfile == stages.folder / "image.id"
    assert stages.arguments["run_smoke"][0][1] == ID
    assert stages.arguments["tag_image"][0][1:] == (ID, "b:2")  # the last of the two


def test_a_build_records_which_images_it_really_started_from(build: Build, stages: Stages) -> None:
    exact = "mirror.example/nvidia/server:1@sha256:2"
    stages.base = FoundImage(
        reference="m/x:1@sha256:1", image_id="sha256:0", origin="m/x:1@sha256:1", digest="sha256:1"
    )
    stages.server = FoundImage(reference=exact, image_id="sha256:3", origin=exact, digest="sha256:2")
    assert build().server == stages.server
    (_, argv, _, _), _ = stages.arguments["build"]
    words = " ".join(map(str, argv))
    for part in (
        "--build-arg BASE_IMAGE=m/x:1@sha256:1",
        f"--build-arg SERVER_IMAGE={exact}",
        "--label io.tritonbuild.base=m/x:1@sha256:1",
        f"--label io.tritonbuild.server={exact}",
        "--label org.opencontainers.image.base.name=m/x:1",
        "--label org.opencontainers.image.base.digest=sha256:1",
    ):
        assert f"{part} " in words
    image = json.loads(stages.arguments["stage_context"][1]["image_json"])
    assert (image["base"], image["base_digest"]) == ("m/x:1@sha256:1", "sha256:1")
    assert image["triton"]["digest"] == "sha256:2"


def test_a_context_for_a_builder_elsewhere_is_gathered_without_an_engine(
    stages: Stages, cpu: BuildSpec
) -> None:
    options = BuildOptions(build_dir=stages.folder.parent)
    folder = stage_row(cpu, options, Console(quiet=True))
    assert folder == stages.folder / "context"
    assert stages.calls == ["check_rendered", "check_lock", "locate_wheels", "read_revision", "stage_context"]
    (context, _), named = stages.arguments["stage_context"]
    assert context == folder
    assert json.loads(named["image_json"])["base"] == cpu.base.pinned_ref
    assert json.loads(named["image_json"])["base_digest"] == cpu.base.digest


def test_secrets_are_gone_after_the_build(build: Build, stages: Stages) -> None:
    build()
    (folder,), _ = stages.arguments["collect_secrets"]
    assert not folder.exists()
    assert stages.folder not in folder.parents


def test_a_given_model_changes_the_dockerfile_and_nothing_that_is_committed(
    build: Build, stages: Stages, tmp_path: Path
) -> None:
    build(baked=BakedFolder(path=tmp_path / "Tiny-1"))
    _, context = stages.arguments["stage_context"]
    assert "COPY model/ /opt/tritonserver/models/" in context["dockerfile"]
    assert json.loads(context["image_json"])["model"] == "Tiny-1"


def test_a_build_leaves_a_record_and_a_log(build: Build, stages: Stages) -> None:
    build()
    record = read_record(stages.folder)
    assert record["image_id"] == ID
    assert record["size"] == 1_300_000_000
    assert record["tags"] == ["tritonserver:24.08-vllm-python-py3-cpu"]
    assert record["revision"] == "c0ffee"
    assert record["smoke"]["passed"] == 12
    log = (stages.folder / "build.log").read_text(encoding="utf-8")
    assert f"==> {ROW}: tag tritonserver:24.08-vllm-python-py3-cpu" in log
    assert "smoke tests: 12 passed, 1 skipped" in log


def test_a_row_that_is_being_built_is_left_alone(build: Build, stages: Stages) -> None:
    stages.folder.mkdir()
    (stages.folder / "build.log").write_text("the other build's log", encoding="utf-8")
    with filelock.FileLock(stages.folder / "lock"), pytest.raises(Busy) as failure:
        build()
    assert failure.value.message == f"{ROW} is being built or tested by another process"
    assert "--build-dir" in str(failure.value.hint)
    assert stages.calls == []
    assert (stages.folder / "build.log").read_text(encoding="utf-8") == "the other build's log"
    assert build().image_id == ID


def test_the_same_image_and_tests_need_no_second_proof(build: Build, stages: Stages) -> None:
    first, second = build(), build()
    again = [name for name in ORDER if name not in ("read_facts", "run_smoke")]
    assert stages.calls == again  # neither inspected nor tested again
    assert second.smoke_reused
    assert second.smoke == first.smoke
    assert second.facts == first.facts


def test_another_image_is_inspected_and_tested(build: Build, stages: Stages) -> None:
    build()
    stages.image_id = "sha256:" + "2" * 64
    result = build()
    assert stages.calls == ORDER
    assert not result.smoke_reused


def test_an_image_that_was_there_before_is_told_from_a_new_one(build: Build, stages: Stages) -> None:
    assert [build().reused, build().reused] == [False, True]
    stages.image_id = "sha256:" + "2" * 64
    assert not build().reused


def test_a_build_tells_and_records_its_layers(build: Build, stages: Stages) -> None:
    assert build().layers == {"sha256:a": 1_300_000_000}
    assert read_record(stages.folder)["layers"] == [{"diff_id": "sha256:a", "size": 1_300_000_000}]


@pytest.mark.parametrize("stage", ["build", "read_facts"])
def test_others_are_told_once_the_layers_are_there(
    build: Build, stages: Stages, cpu: BuildSpec, stage: str
) -> None:
    told: list[int] = []
    stages.failures[stage] = CommandFailed("it failed")
    with pytest.raises(CommandFailed):
        build_row(
            cpu,
            BuildOptions(build_dir=stages.folder.parent),
            Console(quiet=True),
            built=lambda: told.append(len(stages.calls)),
        )
    # Not where the build itself failed; else before anything else happened.
    assert told == ([] if stage == "build" else [ORDER.index("build") + 1])


def test_smoke_tests_wait_for_their_turn(
    build: Build, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of another build, which may be another process, run on the same machine."""
    other = Turn("smoke")
    assert other.take()
    waits: list[list[str]] = []

    def pause(_: float) -> None:
        waits.append(list(stages.calls))
        if len(waits) == 2:
            other.give_back()

    monkeypatch.setattr(turns.time, "sleep", pause)
    result = build()
    assert len(waits) == 2
    assert "run_smoke" not in waits[-1]
    assert result.smoke
    assert {"wait", "smoke"} <= set(result.seconds)
    again = Turn("smoke")
    assert again.take()
    again.give_back()


def test_more_smoke_tests_at_once_need_not_wait(build: Build, stages: Stages) -> None:
    other = Turn("smoke")
    assert other.take()
    try:
        assert "wait" not in build(smoke_jobs=2).seconds
    finally:
        other.give_back()


def test_force_smoke_tests_again(build: Build, stages: Stages) -> None:
    build()
    assert not build(force_smoke=True).smoke_reused
    assert "run_smoke" in stages.calls


def test_no_smoke_tests_nothing(build: Build, stages: Stages) -> None:
    assert build(smoke=False).smoke is None
    assert "run_smoke" not in stages.calls


def test_changed_tests_are_run_on_an_unchanged_image(
    build: Build, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    build()
    monkeypatch.setattr(smoke, "tests_fingerprint", lambda: "changed")
    assert not build().smoke_reused
    assert stages.calls == [name for name in ORDER if name != "read_facts"]


def test_a_failed_smoke_test_proves_nothing_next_time(build: Build, stages: Stages) -> None:
    stages.failures["run_smoke"] = SmokeFailed("1 of 12 failed")
    for _ in range(2):
        with pytest.raises(SmokeFailed):
            build()
        assert stages.calls[-1] == "run_smoke"


def test_an_image_that_breaks_a_promise_is_never_smoke_tested(build: Build, stages: Stages) -> None:
    stages.facts["uid"] = 0
    for _ in range(2):  # the second time from the record
        with pytest.raises(ImageRejected, match="the image runs as root"):
            build()
        assert "run_smoke" not in stages.calls


def test_an_image_over_its_budget_is_refused(build: Build, stages: Stages, cpu: BuildSpec) -> None:
    stages.size = cpu.size_budget_mb * 1_000_000 + 1
    with pytest.raises(OverBudget):
        build()
    assert "run_smoke" not in stages.calls
    assert read_record(stages.folder)["size"] == stages.size  # `inspect` can show why


def test_the_log_is_closed_whatever_happens(stages: Stages, cpu: BuildSpec, tmp_path: Path) -> None:
    console = Console(quiet=True)
    stages.failures["ensure_engine"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        build_row(cpu, BuildOptions(build_dir=tmp_path), console)
    assert console.log_stream is None


@pytest.mark.parametrize(
    ("row", "with_folder", "expected"),
    [
        ("24.08-cpu-pypi", False, "package"),
        ("24.08-cpu-pypi", True, "folder"),
        ("24.08-cuda-ngc", False, "none"),
    ],
)
def test_where_the_model_of_an_image_comes_from(
    spec_of: Callable[[str], BuildSpec], row: str, with_folder: bool, expected: str, tmp_path: Path
) -> None:
    baked = BakedFolder(path=tmp_path) if with_folder else None
    assert pipeline.model_source(spec_of(row), baked) == expected


# --- the verb smoke -----------------------------------------------------------------------


def test_smoke_tests_any_image_and_records_the_result(stages: Stages, cpu: BuildSpec, tmp_path: Path) -> None:
    update_record(stages.folder, size=7)
    result = smoke_row(cpu, "other:1", tmp_path, Console(quiet=True))
    assert result.passed == 12
    assert stages.calls == ["ensure_engine", "run_smoke"]
    assert stages.arguments["run_smoke"][0][1:3] == ("other:1", ID)
    assert read_record(stages.folder)["smoke"]["image_id"] == ID
    assert read_record(stages.folder)["size"] == 7


def test_smoke_names_an_image_that_is_not_there(stages: Stages, cpu: BuildSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as failure:
        smoke_row(cpu, "absent", tmp_path, Console(quiet=True))
    assert failure.value.message == "the engine has no image absent"
    assert failure.value.hint == f"build it first: ./build.py build {ROW}"


@pytest.mark.parametrize("image", ["other:1", "absent"])
def test_smoke_leaves_no_closed_log_behind(
    stages: Stages, cpu: BuildSpec, tmp_path: Path, image: str
) -> None:
    """Printing an error after it would write to a closed file."""
    console = Console(quiet=True, log_stream=io.StringIO())
    try:
        smoke_row(cpu, image, tmp_path, console)
    except UsageError as error:
        console.error(error)
    console.info("more")


# --- another vLLM -------------------------------------------------------------------------


def test_a_build_with_another_vllm_makes_its_recipe_and_leaves_the_rows_own_build_alone(
    stages: Stages, matrix: Matrix, cpu: BuildSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)
    other = vary(matrix, cpu, "0.29.0", allowed=True, now=now, build_dir=tmp_path)
    prepared = dataclasses.replace(other, unverified=(*other.unverified, "prepared"))

    def prepare(spec: BuildSpec, *_: object, anew: bool) -> BuildSpec:
        assert (spec, anew) == (other, False)
        prepared.folder.mkdir(parents=True)
        (prepared.folder / "requirements.lock").touch()
        return prepared

    monkeypatch.setattr(pipeline, "prepare_recipe", prepare)
    monkeypatch.setattr(inspecting, "check_facts", lambda *_: None)
    result = build_row(other, BuildOptions(build_dir=tmp_path), Console(quiet=True))
    assert result.spec == prepared
    assert result.tags == ("tritonserver:24.08-vllm0.29.0-python-py3-cpu",)
    assert "check_rendered" not in stages.calls
    assert "check_lock" not in stages.calls
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{ROW}-vllm0.29.0"]
    assert read_record(tmp_path / f"{ROW}-vllm0.29.0")["image_id"] == ID


def test_labels_given_on_the_command_line_are_the_images(build: Build, stages: Stages) -> None:
    build(labels={"com.nvidia.build.id": "7"})
    argv = stages.arguments["build"][0][1]
    assert "com.nvidia.build.id=7" in argv
    assert "org.opencontainers.image.revision=c0ffee" in argv
