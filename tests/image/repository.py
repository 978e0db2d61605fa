"""Model repositories of a user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = "/opt/tritonserver/model_repository"
COMMAND = ["tritonserver", "--model-repository", "./model_repository"]
CONFIG = """
backend: "vllm"
instance_group [ { count: 1 kind: KIND_MODEL } ]
parameters { key: "REPORT_CUSTOM_METRICS" value { string_value: "true" } }
"""


def write_model(folder: Path, name: str, arguments: Mapping[str, Any] | None, config: str = CONFIG) -> None:
    """Write a model into a repository that any user may read."""
    version = folder / name / "1"
    version.mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if arguments is not None:
        (version / "model.json").write_text(json.dumps(arguments), encoding="utf-8")
    for path in (folder, folder / name, version):
        path.chmod(0o755)
