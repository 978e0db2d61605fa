"""Models with random weights, one for each way in which an engine is placed on GPUs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.image.abilities import has
from tests.image.repository import config_text, make_readable, write_model
from tests.image.standin import engine_arguments, tiny_size
from tests.tinymodel import write_lora, write_tiny_model
from tritonbuild.spec import BuildSpec

ROOT = "/gpu-models"
REPOSITORY = f"{ROOT}/repository"
LORAS = {"doll": 1, "sheep": 2}
# The heads of the model must be shared evenly.
PARALLEL = (8, 4, 2)


def write_all(root: Path, spec: BuildSpec) -> None:
    """Write models and repository below ``root``."""
    repository = root / "repository"
    size = tiny_size(spec)
    write_tiny_model(root / "tiny", size)
    for name, seed in LORAS.items():
        write_lora(root / "loras" / name, seed, size)
    # Beside the server that the other tests ask.
    arguments = engine_arguments(spec, f"{ROOT}/tiny", beside=1)

    def write(name: str, more: dict[str, Any] | None = None, *, count: int = 1, **parameters: str) -> Path:
        write_model(
            repository, name, {**arguments, **(more or {})}, config_text(spec, count=count, **parameters)
        )
        return repository / name

    write("model")
    on_gpu = write("gpu") / "config.pbtxt"
    on_gpu.write_text(on_gpu.read_text().replace("KIND_MODEL", "KIND_GPU gpus: [ 0 ]"))
    write("pair", count=2)
    write("compiled", {"enforce_eager": False} if has(spec, "enforce_eager") else {})
    write("checked", ENABLE_VLLM_HEALTH_CHECK="true")
    # A vLLM without LoRA refuses this by name.
    adapters = write("adapters", {"enable_lora": True, "max_lora_rank": 8, "max_loras": len(LORAS)})
    paths = {name: f"{ROOT}/loras/{name}" for name in LORAS}
    (adapters / "1/multi_lora.json").write_text(json.dumps(paths))
    for number in PARALLEL:
        write(f"parallel{number}", {"tensor_parallel_size": number})
    make_readable(root)
