"""``smoke``: the smoke tests against an image."""

from __future__ import annotations

import argparse

from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_row
from tritonbuild.console import Console
from tritonbuild.errors import UsageError
from tritonbuild.pipeline import smoke_row
from tritonbuild.tags import image_reference


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("smoke", "run the smoke tests against an image")
    add_row(parser)
    parser.add_argument("--image", metavar="REF", help="image to test (default: the row's tag)")
    add_build_dir(parser, "where records go")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    specs = select_specs(options.selector)
    if options.image and len(specs) > 1:
        message = f"--image names one image, but {len(specs)} rows are selected"
        raise UsageError(message, hint="select one row")
    for spec in specs:
        result = smoke_row(spec, options.image or image_reference(spec), options.build_dir, console)
        console.result(f"{spec.row}: {result.passed} passed, {len(result.skipped)} skipped")
        for reason in result.skipped:
            console.result(f"  skipped {reason}")
