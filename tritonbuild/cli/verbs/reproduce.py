"""``reproduce``: whether a row, built from nothing, gives the same image again."""

from __future__ import annotations

import argparse
from pathlib import Path

from tritonbuild.cli.build_flags import add_input_flags, check_input_flags
from tritonbuild.cli.choosing import known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_json
from tritonbuild.cli.verbs.compare import report
from tritonbuild.console import Console
from tritonbuild.identifiers import find_row
from tritonbuild.images import PullPolicy
from tritonbuild.pipeline import BuildOptions
from tritonbuild.reproducing import reproduce_row
from tritonbuild.spec import resolve_spec


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("reproduce", "build a row twice from nothing and compare the images")
    parser.add_argument("row", metavar="ROW", help="row, such as 24.08-cpu-pypi")
    parser.add_argument(
        "--against", metavar="IMAGE", help="build once, and compare with this image that the engine has"
    )
    add_json(parser)
    add_input_flags(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    check_input_flags(options)
    matrix = known_matrix()
    spec = resolve_spec(matrix, find_row(options.row, matrix.rows()))
    build_options = BuildOptions(
        build_dir=options.build_dir,
        wheelhouses=options.wheelhouse,
        ca_cert=options.ca_cert,
        build_secrets={name: Path(file) for name, file in options.build_secret},
        pulling=PullPolicy(mirror=options.registry_mirror, allowed=not options.no_container_pull),
    )
    difference = reproduce_row(spec, build_options, console, against=options.against)
    report(difference, console, as_json=options.json)
