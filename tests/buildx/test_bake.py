"""docker-bake.json as the real `docker buildx bake` reads it. Needs the client's plug-in, no engine."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tritonbuild.baking import target_name
from tritonbuild.buildkit import find_builder
from tritonbuild.errors import ToolMissing
from tritonbuild.loading import load_matrix
from tritonbuild.paths import BAKE_FILE, MATRIX, ROOT

ROWS = load_matrix(MATRIX).rows()
SETTINGS = {
    "CACHE": "registry.example/cache",
    "CONTEXTS": "elsewhere",
    "OUTPUT": "type=image,push=true",
    "REGISTRY": "registry.example/team/",
    "REGISTRY_MIRROR": "mirror.example:5000",
    "REVISION": "c0ffee",
}


def _print(*files: str, **settings: str) -> dict[str, Any]:
    try:
        client, *plugin = find_builder().argv
    except ToolMissing as error:
        pytest.skip(error.message)
    if plugin[0] != "buildx":
        pytest.skip(f"{client} has no buildx plug-in")
    argv = [client, "buildx", "bake", "--print"]
    for file in (str(BAKE_FILE), *files):
        argv += ["-f", file]
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    result = subprocess.run(
        [*argv, "all"], cwd=ROOT, env={**clean, **settings}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout)["target"])


def test_bake_reads_every_target_without_any_setting() -> None:
    targets = _print()
    assert set(targets) == {target_name(row) for row in ROWS}
    for row in ROWS:
        target = targets[target_name(row)]
        assert target["context"] == f"build/{row}/context"
        assert target["tags"][0].startswith("tritonserver:")
        assert target["platforms"] == ["linux/amd64"]
        assert not {"cache-from", "cache-to", "output"} & set(target)


def test_every_setting_reaches_every_target() -> None:
    for name, target in _print(**SETTINGS).items():
        row = name.replace("_", ".")
        assert target["context"] == f"elsewhere/{row}/context"
        assert target["tags"][0].startswith("registry.example/team/tritonserver:")
        assert target["output"] == ["type=image,push=true"]
        assert f"type=registry,ref=registry.example/cache:{row}" in target["cache-from"]
        assert target["cache-to"] == [f"type=registry,ref=registry.example/cache:{row},mode=max"]
        assert target["args"]["BASE_IMAGE"].startswith("mirror.example:5000/")
        assert target["labels"]["org.opencontainers.image.revision"] == "c0ffee"
