"""Model repositories of a user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritonbuild.spec import BuildSpec

REPOSITORY = "/opt/tritonserver/model_repository"
# Engines that start side by side on a GPU take each other's memory for their own: one after another, then.
# Models have a flag of the server for that, the instances of one model have this.
ONE_BY_ONE = {"TRITON_PARALLEL_INSTANCE_LOADING": "0"}
COMMAND = ["tritonserver", "--model-repository", "./model_repository"]


def needs_policy(spec: BuildSpec) -> bool:
    """Tell whether a configuration must say itself that its model is decoupled."""
    return not spec.abilities["transaction-policy"]


def config_text(spec: BuildSpec, *, count: int = 1, **parameters: str) -> str:
    """Return the config.pbtxt of a model of our backend, which says no more than this row needs."""
    lines = ['backend: "vllm"', f"instance_group [ {{ count: {count} kind: KIND_MODEL }} ]"]
    lines += ["model_transaction_policy { decoupled: true }"] * needs_policy(spec)
    lines += [
        f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'
        for name, value in parameters.items()
    ]
    return "\n".join(lines) + "\n"


def load_request(spec: BuildSpec, **parameters: str) -> dict[str, Any]:
    """Return the body of a request to load a model with these parameters in place of its config.pbtxt."""
    config: dict[str, Any] = {
        "backend": "vllm",
        "instance_group": [{"count": 1, "kind": "KIND_MODEL"}],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }
    if needs_policy(spec):
        config["model_transaction_policy"] = {"decoupled": True}
    return {"parameters": {"config": json.dumps(config)}}


def make_readable(root: Path) -> None:
    """Let any user read a folder and all in it."""
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def write_model(folder: Path, name: str, arguments: Mapping[str, Any] | None, config: str) -> None:
    """Write a model into a repository that any user may read."""
    version = folder / name / "1"
    version.mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if arguments is not None:
        (version / "model.json").write_text(json.dumps(arguments), encoding="utf-8")
    for path in (folder, folder / name, version):
        path.chmod(0o755)
