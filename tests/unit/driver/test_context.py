"""The build context: what a Dockerfile may copy, and that it appears whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import context
from tritonbuild.context import check_model_folder, stage_context
from tritonbuild.errors import UsageError
from tritonbuild.spec import BuildSpec

Stage = Callable[..., Path]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    """A function that stages the context of a row with a small backend and small samples."""
    backend, samples = tmp_path / "backend_src", tmp_path / "samples"
    (backend / "triton_vllm" / "__pycache__").mkdir(parents=True)
    (backend / "model.py").write_text("backend\n", encoding="utf-8")
    (backend / "triton_vllm" / "service.py").write_text("service\n", encoding="utf-8")
    (backend / "triton_vllm" / "__pycache__" / "service.pyc").touch()
    (backend / ".swp").touch()
    (backend / "stale.pyc").touch()
    model = samples / "model_repository" / "vllm_model"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text('backend: "vllm"\n', encoding="utf-8")
    (model / "1" / "model.json").write_text('{"model": "facebook/opt-125m"}\n', encoding="utf-8")
    (samples / "client.py").touch()
    uv = tmp_path / "uv"
    uv.write_text("uv", encoding="utf-8")
    monkeypatch.setattr(context, "BACKEND", backend)
    monkeypatch.setattr(context, "SAMPLES", samples)
    monkeypatch.setattr(context, "find_uv", lambda: str(uv))

    def run(spec: BuildSpec, **changes: Any) -> Path:
        given: dict[str, Any] = {"dockerfile": "FROM x\n", "image_json": "{}\n", "wheels": [], "baked": None}
        stage_context(tmp_path / "context", spec, **{**given, **changes})
        return tmp_path / "context"

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Hugging Face model folder."""
    folder = tmp_path / "Tiny-1"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def _files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def _model_json(folder: Path) -> dict[str, Any]:
    text = (folder / "model_repository/vllm_model/1/model.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_the_context_holds_what_the_dockerfile_copies(stage: Stage, cpu: BuildSpec, tmp_path: Path) -> None:
    wheel = tmp_path / "torch-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    folder = stage(cpu, wheels=[wheel])
    assert _files(folder) == {
        "Dockerfile",
        "NOTICE",
        "backend/model.py",
        "backend/triton_vllm/service.py",
        "convert_gguf.py",
        "image.json",
        "model.lock",
        "model_repository/vllm_model/1/model.json",
        "model_repository/vllm_model/config.pbtxt",
        "requirements.lock",
        "samples/client.py",
        "samples/model_repository/vllm_model/1/model.json",
        "samples/model_repository/vllm_model/config.pbtxt",
        "tools/uv",
        "wheels/torch-1-py3-none-any.whl",
    }
    assert (folder / "Dockerfile").read_text(encoding="utf-8") == "FROM x\n"
    assert (folder / "requirements.lock").read_bytes() == (cpu.folder / "requirements.lock").read_bytes()


def test_every_copied_or_mounted_name_of_the_dockerfile_is_there(stage: Stage, cpu: BuildSpec) -> None:
    folder = stage(cpu)
    text = (cpu.folder / "Dockerfile").read_text(encoding="utf-8")
    names = set(re.findall(r"type=bind,source=([^,\s]+)", text))
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.MULTILINE):
        names |= set(copied.split())
    assert names
    assert not [name for name in names if not (folder / name).exists()]


def test_a_row_without_model_needs_nothing_to_convert_one(stage: Stage, cuda: BuildSpec) -> None:
    folder = stage(cuda)
    assert not _files(folder) & {"convert_gguf.py", "model.lock"}
    assert _model_json(folder) == {"model": "facebook/opt-125m"}


def test_a_cpu_image_serves_the_model_baked_into_it(stage: Stage, cpu: BuildSpec) -> None:
    folder = stage(cpu)
    assert cpu.model
    assert _model_json(folder) == {
        "model": "/opt/tritonserver/models/SmolLM2-135M-Instruct",
        **cpu.model.engine_args,
    }
    # The sample stays as upstream ships it.
    sample = folder / "samples/model_repository/vllm_model/1/model.json"
    assert json.loads(sample.read_text(encoding="utf-8")) == {"model": "facebook/opt-125m"}


def test_only_the_rows_own_chat_model_is_asked_in_its_own_form(
    stage: Stage, cpu: BuildSpec, cuda: BuildSpec, model: Path
) -> None:
    def config(folder: Path) -> str:
        return (folder / "model_repository/vllm_model/config.pbtxt").read_text(encoding="utf-8")

    plain = config(stage(cuda))
    chat = config(stage(cpu))
    assert chat.startswith(plain)
    assert "APPLY_CHAT_TEMPLATE" in chat.removeprefix(plain)
    assert config(stage(cpu)) == chat  # staged again, it is not added again
    assert config(stage(cpu, baked=check_model_folder(model))) == plain
    assert "APPLY_CHAT_TEMPLATE" not in (
        stage(cpu) / "samples/model_repository/vllm_model/config.pbtxt"
    ).read_text(encoding="utf-8")


def test_a_given_model_takes_the_place_of_the_rows(stage: Stage, cpu: BuildSpec, model: Path) -> None:
    folder = stage(cpu, baked=check_model_folder(model))
    arguments = _model_json(folder)
    assert arguments["model"] == "/opt/tritonserver/models/Tiny-1"
    # What every model needs that vLLM runs in a cpu image, ours included.
    assert cpu.model
    for key in ("enforce_eager", "kv_cache_memory_bytes"):
        assert arguments[key] == cpu.model.engine_args[key]
    assert arguments["enforce_eager"] is True
    assert (folder / "model/Tiny-1/model.safetensors").read_bytes() == b"weights"
    assert not _files(folder) & {"convert_gguf.py", "model.lock"}


def test_a_cuda_image_may_compile_a_given_model(stage: Stage, cuda: BuildSpec, model: Path) -> None:
    folder = stage(cuda, baked=check_model_folder(model))
    assert _model_json(folder) == {"model": "/opt/tritonserver/models/Tiny-1"}


def test_links_in_a_model_folder_are_followed(stage: Stage, cuda: BuildSpec, model: Path) -> None:
    """A model hub's cache is a folder of links to files with hashes for names."""
    blob = model.parent / "blob"
    blob.write_bytes(b"more")
    (model / "more.safetensors").symlink_to(blob)
    folder = stage(cuda, baked=check_model_folder(model))
    staged = folder / "model/Tiny-1/more.safetensors"
    assert not staged.is_symlink()
    assert staged.read_bytes() == b"more"


def test_a_failure_in_the_middle_leaves_the_old_context(
    stage: Stage, cpu: BuildSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stage(cpu)
    before = {name: (folder / name).read_bytes() for name in _files(folder)}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(context, "_copy_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage(cpu, dockerfile="FROM y\n")
    assert {name: (folder / name).read_bytes() for name in _files(folder)} == before


def test_what_an_interrupted_staging_left_is_cleared_away(
    stage: Stage, cpu: BuildSpec, tmp_path: Path
) -> None:
    (tmp_path / "context.new" / "tools").mkdir(parents=True)
    (tmp_path / "context.new" / "rest").touch()
    assert "rest" not in _files(stage(cpu))
    assert not (tmp_path / "context.new").exists()


def test_what_is_no_longer_needed_disappears(stage: Stage, cpu: BuildSpec, cuda: BuildSpec) -> None:
    stage(cpu)
    assert "model.lock" not in _files(stage(cuda))


def test_files_keep_their_times_so_that_nothing_is_sent_twice(stage: Stage, cpu: BuildSpec) -> None:
    folder = stage(cpu)
    generated = ("Dockerfile", "image.json", "model_repository/vllm_model/1/model.json")
    for name in generated:
        os.utime(folder / name, (1, 1))
    before = {name: (folder / name).stat().st_mtime_ns for name in _files(folder)}
    stage(cpu)
    assert {name: (folder / name).stat().st_mtime_ns for name in _files(folder)} == before
    stage(cpu, dockerfile="FROM y\n")
    assert (folder / "Dockerfile").stat().st_mtime != 1


def test_large_files_are_copied_where_they_cannot_be_linked(
    stage: Stage, cpu: BuildSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert (stage(cpu) / "tools/uv").read_text(encoding="utf-8") == "uv"


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ([], "has no config.json"),
        (["model.safetensors"], "has no config.json"),
        (["config.json"], "has no weights"),
        (["config.json", "tokenizer.json"], "has no weights"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, files: list[str], missing: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=missing) as failure:
        check_model_folder(tmp_path)
    assert failure.value.hint


@pytest.mark.parametrize("weights", ["model-00001-of-00002.safetensors", "pytorch_model.bin"])
def test_a_model_folder_is_known_by_its_name(tmp_path: Path, weights: str) -> None:
    folder = tmp_path / "My-Model-1.5"
    folder.mkdir()
    (folder / "config.json").touch()
    (folder / weights).touch()
    link = tmp_path / "latest"
    link.symlink_to(folder)
    assert check_model_folder(folder).name == "My-Model-1.5"
    assert check_model_folder(link).name == "My-Model-1.5"


@pytest.mark.parametrize("name", ["a b", 'a"b', "a;id", "a$(id)", "a\nRUN id", ".hidden", "-x", "ä"])
def test_a_model_folder_whose_name_could_be_taken_for_more_is_refused(tmp_path: Path, name: str) -> None:
    """Its name stands in model.json, in image.json and in a path of the image."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").touch()
    (folder / "model.safetensors").touch()
    with pytest.raises(UsageError, match="is not a name for a model"):
        check_model_folder(folder)


@pytest.mark.parametrize("row", ["24.08-cpu-pypi", "24.08-cuda-pypi", "24.08-cuda-ngc"])
def test_the_context_holds_what_the_dockerfile_mounts(
    stage: Stage, spec_of: Callable[[str], BuildSpec], row: str
) -> None:
    spec = spec_of(row)
    folder = stage(spec)
    text = (spec.folder / "Dockerfile").read_text(encoding="utf-8")
    mounted = set(re.findall(r"--mount=type=bind,source=([\w./-]+),", text)) - {"/"}
    assert {name for name in mounted if not (folder / name).exists()} == set()
    assert ("collect_server.py" in mounted) == row.endswith("-ngc")
