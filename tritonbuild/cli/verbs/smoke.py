"""``smoke``: the smoke tests against an image."""

from __future__ import annotations

import argparse

from tritonbuild.cli.choosing import known_matrix, select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_row, add_vllm_version
from tritonbuild.console import Console
from tritonbuild.errors import UsageError
from tritonbuild.identifiers import parse_row
from tritonbuild.preparing import read_recipe
from tritonbuild.proving import smoke_row
from tritonbuild.spec import BuildSpec, resolve_spec
from tritonbuild.tags import image_reference
from tritonbuild.variation import is_same, recipe_folder


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("smoke", "run the smoke tests against an image")
    add_row(parser)
    parser.add_argument("--image", metavar="REF", help="image to test (default: the row's tag)")
    parser.add_argument(
        "--conformance",
        action="store_true",
        help="also hold the backend to upstream's contract (minutes more)",
    )
    add_vllm_version(parser)
    add_build_dir(parser, "where records go")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    specs = _choose(options)
    if options.image and len(specs) > 1:
        message = f"--image names one image, but {len(specs)} rows are selected"
        raise UsageError(message, hint="select one row")
    for spec in specs:
        image = options.image or image_reference(spec)
        result = smoke_row(spec, image, options.build_dir, console, conformance=options.conformance)
        console.result(f"{spec.name}: {result.passed} passed, {len(result.skipped)} skipped")
        for reason in result.skipped:
            console.result(f"  skipped {reason}")


def _choose(options: argparse.Namespace) -> list[BuildSpec]:
    """Return the selected rows, or what a build of one row with another vLLM left in the build folder."""
    if options.vllm_version is None:
        return select_specs(options.selector)
    matrix = known_matrix()
    row = parse_row(options.selector, matrix.rows())
    if row in matrix.rows() and is_same(resolve_spec(matrix, row).vllm, options.vllm_version):
        return [resolve_spec(matrix, row)]
    return [read_recipe(matrix, recipe_folder(row, options.vllm_version, options.build_dir))]
