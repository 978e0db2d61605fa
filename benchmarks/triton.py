"""Triton with our backend: the server's files and the model repository."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.servers import Server

_CONFIG = """backend: "vllm"
instance_group [ { count: 1 kind: KIND_MODEL } ]
parameters: { key: "REPORT_CUSTOM_METRICS" value: { string_value: "true" } }
"""


def assemble(source: Path, backend: Path | None, folder: Path) -> Path:
    """Return a server tree in `folder`.

    `source` is a tree as in the images (bin, lib, backends) or an unpacked nvidia-pytriton wheel;
    `backend`, if given, is used in place of the tree's own vLLM backend.
    """
    tree = folder / "tritonserver"
    if tree.exists():
        shutil.rmtree(tree)
    (tree / "backends").mkdir(parents=True)
    wheel = source / "pytriton" / "tritonserver"
    inner = wheel if wheel.is_dir() else source
    libraries = source / "nvidia_pytriton.libs" if wheel.is_dir() else source / "lib"
    (tree / "bin").symlink_to(inner.resolve() / "bin")
    (tree / "lib").symlink_to(libraries.resolve())
    if wheel.is_dir():
        python = tree / "backends" / "python"
        shutil.copytree(inner / "backends" / "python", python)
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = inner / "python_backend_stubs" / minor / "triton_python_backend_stub"
        shutil.copy2(stub, python / "triton_python_backend_stub")
    else:
        (tree / "backends" / "python").symlink_to(inner.resolve() / "backends" / "python")
    vllm = tree / "backends" / "vllm"
    if backend is None:
        vllm.symlink_to(inner.resolve() / "backends" / "vllm")
    else:
        shutil.copytree(backend, vllm, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return tree


def write_repository(folder: Path, name: str, engine_args: Mapping[str, Any]) -> Path:
    """Write a repository with the one model and return its path."""
    repository = folder / "model_repository"
    version = repository / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    (repository / name / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")
    (version / "model.json").write_text(json.dumps(engine_args, indent=1), encoding="utf-8")
    return repository


def make_server(tree: Path, repository: Path, name: str, port: int, log: Path) -> Server:
    """Return the server, not started: HTTP on `port`, gRPC and metrics on the next two."""
    command = [
        str(tree / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={tree / 'backends'}",
        f"--http-port={port}",
        f"--grpc-port={port + 1}",
        f"--metrics-port={port + 2}",
        f"--backend-config=python,shm-region-prefix-name=bench{port}_",
    ]
    return Server(command, log, port, f"/v2/models/{name}/ready", _environment(tree))


def _environment(tree: Path) -> dict[str, str]:
    libraries = [str(tree / "lib"), str(sysconfig.get_config_var("LIBDIR") or "")]
    if os.environ.get("LD_LIBRARY_PATH"):
        libraries.append(os.environ["LD_LIBRARY_PATH"])
    # The stub embeds the Python that comes first on PATH, and reads UTF-8 files.
    return {
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }
