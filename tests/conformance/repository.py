"""The model repository that the conformance tests share, written for the vLLM of the row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.image import standin
from tests.image.abilities import has
from tests.image.repository import config_text, make_readable
from tests.tinymodel import write_lora, write_tiny_model
from tritonbuild.spec import BuildSpec

ROOT = "/conformance"
REPOSITORY = f"{ROOT}/repository"
TINY = f"{ROOT}/tiny"
LORAS = {"doll": 1, "sheep": 2}
# One slot more than adapters: on a CPU vLLM 0.30 applies what lies in the last slot to requests without
# an adapter that share a batch with others.
LORA: dict[str, Any] = {"enable_lora": True, "max_lora_rank": 8, "max_loras": len(LORAS) + 1}
# What runs in the image: Triton models in Python, and scripts.
INSIDE = Path(__file__).with_name("inside")
SCRIPTS = f"{ROOT}/scripts"
# What stands in for the embedding model, whose statistics are off, where vLLM makes none of a text model.
SILENT = "silent"


def engine_arguments(spec: BuildSpec) -> dict[str, Any]:
    """Return what LLM(...) and model.json are given alike."""
    return standin.engine_arguments(spec, TINY)


def lora_arguments(spec: BuildSpec) -> dict[str, Any]:
    """Return what an engine is given for adapters, where it can have some."""
    return LORA if has(spec, "enable_lora") else {}


def write_all(root: Path, spec: BuildSpec) -> None:
    """Write the models, the adapters and the repository below ``root``, for any user to read."""
    repository = root / "repository"
    size = standin.tiny_size(spec)
    write_tiny_model(root / "tiny", size)
    for name, seed in LORAS.items():
        write_lora(root / "loras" / name, seed, size)
    arguments = engine_arguments(spec)
    # As r24.08 spells both switches; `pair` has the spelling of later releases.
    switched = {**arguments, **lora_arguments(spec)}
    if has(spec, "enable_lora"):
        switched["enable_lora"] = "true"
        paths = {name: f"{ROOT}/loras/{name}" for name in LORAS}
        _write(repository / "text/1/multi_lora.json", json.dumps(paths))
    _write_vllm(repository / "text", config_text(spec, REPORT_CUSTOM_METRICS="yes"), switched)
    _write_vllm(repository / "pair", config_text(spec, count=2, REPORT_CUSTOM_METRICS="true"), arguments)
    silent = {**arguments, "disable_log_stats": True}
    _write_vllm(repository / SILENT, config_text(spec, REPORT_CUSTOM_METRICS="true"), silent)
    if has(spec, "runner"):
        pooling = {**silent, "runner": "pooling", "hf_overrides": {"is_matryoshka": True}}
        _write_vllm(repository / "embedding", config_text(spec, REPORT_CUSTOM_METRICS="true"), pooling)
    _write_vllm(repository / "spare", config_text(spec), arguments)
    _write_vllm(repository / "shared", config_text(spec), {**arguments, "tensor_parallel_size": 2})
    _write_vllm(repository / "wrong_key", config_text(spec), {**arguments, "invalid_attribute": True})
    _write_vllm(repository / "no_adapters", config_text(spec), {**arguments, **LORA})
    _write_vllm(
        repository / "wrong_model", config_text(spec), {**arguments, "model": f"{ROOT}/no_such_model"}
    )
    for name, text in PIPELINE_CONFIGS.items():
        _write(repository / name / "config.pbtxt", text)
        (repository / name / "1").mkdir()
        script = INSIDE / f"{name}.py"
        if name == "bls_stream" and not spec.abilities["coroutines"]:
            script = INSIDE / "bls_stream_exec.py"
        if script.exists():
            shutil.copyfile(script, repository / name / "1/model.py")
    shutil.copytree(INSIDE, root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    make_readable(root)


def _write_vllm(folder: Path, text: str, arguments: Mapping[str, Any]) -> None:
    _write(folder / "config.pbtxt", text)
    _write(folder / "1/model.json", json.dumps(arguments))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


PIPELINE_CONFIGS = {
    "upper": """
backend: "python"
input [ { name: "PROMPT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "UPPER" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU } ]
""",
    "bls": """
backend: "python"
input [
  { name: "MODEL" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "sampling_parameters" data_type: TYPE_STRING dims: [ 1 ] }
]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU } ]
""",
    "bls_stream": """
backend: "python"
input [
  { name: "PROMPTS" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "sampling_parameters" data_type: TYPE_STRING dims: [ 1 ] }
]
output [
  { name: "SOURCE" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }
]
model_transaction_policy { decoupled: true }
instance_group [ { kind: KIND_CPU } ]
""",
    "chain": """
platform: "ensemble"
input [
  { name: "PROMPT" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "PARAMETERS" data_type: TYPE_STRING dims: [ 1 ] }
]
output [ { name: "TEXT" data_type: TYPE_STRING dims: [ -1 ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "upper"
      model_version: -1
      input_map { key: "PROMPT" value: "PROMPT" }
      output_map { key: "UPPER" value: "upper_prompt" }
    },
    {
      model_name: "text"
      model_version: -1
      input_map { key: "text_input" value: "upper_prompt" }
      input_map { key: "sampling_parameters" value: "PARAMETERS" }
      output_map { key: "text_output" value: "TEXT" }
    }
  ]
}
""",
}
