"""The build context: everything a Dockerfile may copy, staged in one folder of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonbuild.errors import UsageError
from tritonbuild.locking import CLIENT_LOCK, LOCK, MODEL_LOCK
from tritonbuild.paths import BACKEND, IMAGE_FILES, ROOT, SAMPLES
from tritonbuild.resolving import find_uv
from tritonbuild.sources import FOLDER
from tritonbuild.spec import BuildSpec

_MODELS = "/opt/tritonserver/models"
# A chat model answers a question in its own form, and often ends at once on a bare text.
_CHAT_PARAMETER = """
parameters [
  {
    key: "APPLY_CHAT_TEMPLATE"
    value: { string_value: "true" }
  }
]
"""


@dataclass(frozen=True, kw_only=True)
class BakedFolder:
    """A Hugging Face model folder given with --bake-model."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name


def check_model_folder(path: Path) -> BakedFolder:
    """Return the folder when it looks like a model; raise UsageError otherwise."""
    if not (path / "config.json").is_file():
        message = f"--bake-model: {path} has no config.json"
        raise UsageError(message, hint="name a Hugging Face model folder: config, tokenizer and safetensors")
    if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
        message = f"--bake-model: {path} has no weights (*.safetensors or *.bin)"
        raise UsageError(message, hint="name a folder with the model's weights in it")
    baked = BakedFolder(path=path)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", baked.name):
        message = f"--bake-model: {baked.name!r} is not a name for a model"
        raise UsageError(message, hint="rename the folder: letters, digits, dot, dash and underscore")
    return baked


def _link_or_copy(source: Path, target: Path) -> None:
    """Hard-link large files where the file system allows it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def _link_tree(source: Path, target: Path) -> None:
    def copy(a: str, b: str) -> None:
        _link_or_copy(Path(a), Path(b))

    shutil.copytree(source, target, copy_function=copy, dirs_exist_ok=True)


def _copy_tree(source: Path, target: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    shutil.copytree(source, target, ignore=ignore, copy_function=shutil.copy2, dirs_exist_ok=True)


def _model_json(spec: BuildSpec, baked: BakedFolder | None) -> str | None:
    """Return model.json for the model in the image, or None when there is none."""
    if baked:
        arguments: dict[str, object] = {"model": f"{_MODELS}/{baked.name}"}
        if not spec.is_cuda:
            # A cpu image has no compiler for torch.compile, and vLLM would reserve 92% of the memory.
            arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": 1 << 30}
    elif spec.model:
        arguments = {"model": f"{_MODELS}/{spec.model.name}", **spec.model.engine_args}
    else:
        return None
    return json.dumps(arguments, indent=4) + "\n"


def _files_of(spec: BuildSpec, baked: BakedFolder | None) -> Iterator[Path]:
    """Yield the locks and scripts that the Dockerfile of ``spec`` uses."""
    if spec.engine:
        yield spec.folder / LOCK
    else:
        yield IMAGE_FILES / "check_vllm.py"
    if spec.base.client:
        yield spec.folder / CLIENT_LOCK
    if spec.server.source == "ngc":
        yield IMAGE_FILES / "collect_server.py"
    if spec.model and not baked:
        yield spec.folder / MODEL_LOCK
        yield IMAGE_FILES / "convert_gguf.py"


def stage_context(
    folder: Path,
    spec: BuildSpec,
    *,
    dockerfile: str,
    image_json: str,
    wheels: Sequence[Path],
    baked: BakedFolder | None,
    sources: Path | None = None,
) -> None:
    """Fill ``folder`` anew. It appears whole or not at all.

    ``sources`` is a folder of repositories and archives that a server is compiled from, if there is one.

    Files keep their times: BuildKit decides by size and time what to send again.
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in ("tools", "wheels"):
        (fresh / name).mkdir(parents=True)
    _write_stable(folder, fresh, "Dockerfile", dockerfile)
    _write_stable(folder, fresh, "image.json", image_json)
    for file in _files_of(spec, baked):
        shutil.copy2(file, fresh / file.name)
    shutil.copy2(ROOT / "NOTICE", fresh / "NOTICE")
    _link_or_copy(Path(find_uv()), fresh / "tools" / "uv")
    if spec.plan:
        (fresh / FOLDER).mkdir()
    if sources:
        _link_tree(sources, fresh / FOLDER)
    for wheel in wheels:
        _link_or_copy(wheel, fresh / "wheels" / wheel.name)
    _copy_tree(BACKEND, fresh / "backend")
    _copy_tree(SAMPLES, fresh / "samples")
    _copy_tree(SAMPLES / "model_repository", fresh / "model_repository")
    model_json = _model_json(spec, baked)
    if model_json is not None:
        _write_stable(folder, fresh, "model_repository/vllm_model/1/model.json", model_json)
    if not baked and spec.model and spec.model.chat:
        config = fresh / "model_repository/vllm_model/config.pbtxt"
        _write_stable(
            folder,
            fresh,
            str(config.relative_to(fresh)),
            config.read_text(encoding="utf-8") + _CHAT_PARAMETER,
        )
    if baked:
        target = fresh / "model" / baked.name
        _link_tree(baked.path, target)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _write_stable(old: Path, new: Path, name: str, text: str) -> None:
    """Write a generated file with the time of its predecessor where the text is the same."""
    target, before = new / name, old / name
    target.write_text(text, encoding="utf-8")
    if before.is_file() and before.read_text(encoding="utf-8") == text:
        shutil.copystat(before, target)
