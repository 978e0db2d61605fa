"""``smoke``: the smoke tests against an image."""

from __future__ import annotations

import argparse
from pathlib import Path

from tritonbuild.cli.choosing import known_matrix, select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_row, add_vllm_version
from tritonbuild.cli.values import count, service_url
from tritonbuild.console import Console
from tritonbuild.elsewhere import smoke_bundle, smoke_url
from tritonbuild.errors import UsageError
from tritonbuild.identifiers import parse_row
from tritonbuild.preparing import read_recipe
from tritonbuild.proving import smoke_row
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec, resolve_spec
from tritonbuild.tags import image_reference
from tritonbuild.variation import is_same, recipe_folder


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("smoke", "run the smoke tests against an image")
    add_row(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--image", metavar="REF", help="image to test (default: the row's tag)")
    what.add_argument("--bundle", type=Path, metavar="DIR", help="test what `bundle` wrote; needs no engine")
    what.add_argument(
        "--url", type=service_url, metavar="http://HOST[:PORT]", help="test a server that runs already"
    )
    for name, port in (("grpc", 8001), ("metrics", 8002)):
        parser.add_argument(
            f"--{name}-port",
            type=count(f"--{name}-port"),
            default=port,
            metavar="N",
            help="of the server at --url",
        )
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
    for flag, noun in (("--image", "image"), ("--bundle", "bundle"), ("--url", "server")):
        if getattr(options, flag[2:]) and len(specs) > 1:
            message = f"{flag} names one {noun}, but {len(specs)} rows are selected"
            raise UsageError(message, hint="select one row")
    for spec in specs:
        result = _smoke(spec, options, console)
        console.result(f"{spec.name}: {result.counts}")
        for reason in result.skipped:
            console.result(f"  skipped {reason}")
        for reason in result.left_out:
            console.result(f"  left out {reason}")


def _smoke(spec: BuildSpec, options: argparse.Namespace, console: Console) -> SmokeResult:
    if options.bundle:
        return smoke_bundle(spec, options.bundle, options.build_dir, console, conformance=options.conformance)
    if options.url:
        ports = (options.grpc_port, options.metrics_port)
        return smoke_url(spec, options.url, ports, options.build_dir, console)
    image = options.image or image_reference(spec)
    return smoke_row(spec, image, options.build_dir, console, conformance=options.conformance)


def _choose(options: argparse.Namespace) -> list[BuildSpec]:
    """Return the selected rows, or what a build of one row with another vLLM left in the build folder."""
    if options.vllm_version is None:
        return select_specs(options.selector)
    matrix = known_matrix()
    row = parse_row(options.selector, matrix.rows())
    if row in matrix.rows() and is_same(resolve_spec(matrix, row).vllm, options.vllm_version):
        return [resolve_spec(matrix, row)]
    return [read_recipe(matrix, recipe_folder(row, options.vllm_version, options.build_dir))]
