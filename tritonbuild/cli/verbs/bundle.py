"""``bundle``: an image as files, for hosts without a container engine."""

from __future__ import annotations

import argparse
from pathlib import Path

from tritonbuild.bundling import ARCHIVES, default_output, write_bundle
from tritonbuild.cli.choosing import known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir
from tritonbuild.cli.values import one_of
from tritonbuild.console import Console
from tritonbuild.engine import connect, find_image, image_files
from tritonbuild.errors import UsageError
from tritonbuild.identifiers import find_row
from tritonbuild.paths import shown
from tritonbuild.records import row_folder
from tritonbuild.spec import resolve_spec
from tritonbuild.tags import image_reference


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("bundle", "export an image's files and a start script, for hosts without an engine")
    parser.add_argument("row", metavar="ROW", help="row, such as 24.08-cuda-pypi")
    parser.add_argument("--image", metavar="REF", help="image to export (default: the row's tag)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder to write (default: build/ROW/bundle)"
    )
    parser.add_argument(
        "--compression",
        type=one_of("--compression", tuple(ARCHIVES)),
        default="gzip",
        metavar="NAME",
        help="gzip, zstd or none (default: gzip, which every host can unpack)",
    )
    add_build_dir(parser, "where build/ROW lies")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    matrix = known_matrix()
    spec = resolve_spec(matrix, find_row(options.row, matrix.rows()))
    reference = options.image or image_reference(spec)
    output: Path = options.output or default_output(row_folder(spec.row, options.build_dir))
    client = connect()
    image = find_image(client, reference)
    if image is None:
        message = f"the engine has no image {reference}"
        raise UsageError(message, hint=f"build it first: ./build.py build {spec.row}")
    with (
        console.step("bundle", f"{spec.row}: export {reference}") as step,
        image_files(client, image) as files,
    ):
        bundle = write_bundle(
            image,
            files,
            output,
            step,
            row=str(spec.row),
            reference=reference,
            compression=options.compression,
        )
        step.outcome = f"{bundle.archive_bytes / 1e6:.0f} MB"
    console.result(f"{shown(output)}/start.sh")
