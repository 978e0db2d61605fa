"""``smoke``: the smoke tests against an image."""

from __future__ import annotations

import argparse
from pathlib import Path

from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_row, add_vllm_version
from tritonbuild.console import Console
from tritonbuild.errors import UsageError
from tritonbuild.pipeline import smoke_row
from tritonbuild.preparing import read_recipe
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference
from tritonbuild.variation import is_same, recipe_folder


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("smoke", "run the smoke tests against an image")
    add_row(parser)
    parser.add_argument("--image", metavar="REF", help="image to test (default: the row's tag)")
    add_vllm_version(parser)
    add_build_dir(parser, "where records go")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    specs = select_specs(options.selector)
    if options.image and len(specs) > 1:
        message = f"--image names one image, but {len(specs)} rows are selected"
        raise UsageError(message, hint="select one row")
    if options.vllm_version:
        specs = [_with_vllm(spec, options.vllm_version, options.build_dir) for spec in specs]
    for spec in specs:
        result = smoke_row(spec, options.image or image_reference(spec), options.build_dir, console)
        console.result(f"{spec.name}: {result.passed} passed, {len(result.skipped)} skipped")
        for reason in result.skipped:
            console.result(f"  skipped {reason}")


def _with_vllm(spec: BuildSpec, version: str, build_dir: Path | None) -> BuildSpec:
    """Return what a build of the row with another vLLM left in the build folder."""
    if is_same(spec.vllm, version):
        return spec
    return read_recipe(spec, recipe_folder(spec.row, version, build_dir))
