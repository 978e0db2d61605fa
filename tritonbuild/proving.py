"""Proof of images that a row's last build did not prove itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from docker.errors import ImageNotFound

from tritonbuild import smoke
from tritonbuild.console import Console
from tritonbuild.errors import Busy, UsageError
from tritonbuild.host import ensure_engine
from tritonbuild.pipeline import BuildResult, working_on
from tritonbuild.records import read_record, update_record
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec


def smoke_row(
    spec: BuildSpec, image: str, build_dir: Path | None, console: Console, *, conformance: bool = False
) -> SmokeResult:
    """Run the smoke tests of a row on any image that the engine has."""
    with working_on(spec, build_dir) as folder:
        with console.logging_to(folder / "smoke.log"):
            with console.step("engine", f"{spec.name}: engine") as step:
                client = ensure_engine(step)
            try:
                image_id = str(client.images.get(image).id)
            except ImageNotFound as error:
                message = f"the engine has no image {image}"
                raise UsageError(message, hint=f"build it first: ./build.py build {spec.row}") from error
            result = smoke.prove(spec, image, image_id, folder, console, where=image, conformance=conformance)
        update_record(folder, smoke=result.as_record())
    return result


def keep_proof(result: BuildResult, proof: SmokeResult, build_dir: Path | None) -> None:
    """Note in the row's own record that its image was proven, so that no build proves it again."""
    with suppress(Busy), working_on(result.spec, build_dir) as folder:  # Busy: a build that makes its own
        if read_record(folder).get("image_id") == result.image_id:
            update_record(folder, smoke=proof.as_record())
