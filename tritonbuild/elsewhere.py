"""The smoke tests where no container engine is: on a bundle's files, or a server that runs already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tritonbuild.bundling import read_bundle
from tritonbuild.console import Console
from tritonbuild.errors import BundleFailed
from tritonbuild.records import row_folder
from tritonbuild.smoke import SmokeResult, prove
from tritonbuild.spec import BuildSpec


def smoke_bundle(
    spec: BuildSpec, folder: Path, build_dir: Path | None, console: Console, *, conformance: bool = False
) -> SmokeResult:
    """Run the smoke tests of a row on the files of its bundle; raise BundleFailed when it is another's."""
    bundle = read_bundle(folder)
    if bundle.row != str(spec.row):
        message = f"{folder} holds an image of {bundle.row}, not of {spec.row}"
        raise BundleFailed(message, hint=f"./build.py smoke {bundle.row} --bundle {folder}")
    place = ("--bundle", str(bundle.folder))
    return _smoke(spec, str(folder), bundle.image_id, place, build_dir, console, conformance=conformance)


def smoke_url(
    spec: BuildSpec, url: str, ports: tuple[int, int], build_dir: Path | None, console: Console
) -> SmokeResult:
    """Run those smoke tests of a row that need nothing but a server; ``ports`` are gRPC and metrics."""
    grpc, metrics = map(str, ports)
    place = ("--url", url, "--grpc-port", grpc, "--metrics-port", metrics)
    return _smoke(spec, url, "", place, build_dir, console)


def _smoke(
    spec: BuildSpec,
    name: str,
    image_id: str,
    place: Sequence[str],
    build_dir: Path | None,
    console: Console,
    *,
    conformance: bool = False,
) -> SmokeResult:
    """Run them and leave the log; the row's record is about images of the engine, and stays as it is."""
    folder = row_folder(spec.name, build_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with console.logging_to(folder / "smoke.log"):
        return prove(spec, name, image_id, folder, console, where=name, conformance=conformance, place=place)
