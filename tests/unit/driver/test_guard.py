"""The guard of conftest.py itself: no unit test can start a program or reach a network."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import docker
import pytest
import requests

from tritonbuild import engine, process


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: subprocess.run(["true"], check=False),
        lambda: subprocess.Popen(["true"]),
        docker.from_env,
        engine.connect,
        lambda: process.run(["true"]),
        lambda: requests.get("https://index.invalid", timeout=1),
        lambda: requests.Session().get("https://index.invalid", timeout=1),
    ],
)
def test_the_outside_world_is_out_of_reach(attempt: Callable[[], object]) -> None:
    with pytest.raises(pytest.fail.Exception, match="a unit test reached"):
        attempt()
