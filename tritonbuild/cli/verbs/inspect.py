"""``inspect``: what the last build of a row holds."""

from __future__ import annotations

import argparse
import json

from tritonbuild.cli.choosing import known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_row
from tritonbuild.compressing import measure_row
from tritonbuild.console import Console
from tritonbuild.errors import NothingSelected
from tritonbuild.identifiers import select
from tritonbuild.paths import BUILD, shown
from tritonbuild.records import read_record, row_folder
from tritonbuild.spec import resolve_spec


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("inspect", "show what the last build of a row holds, as JSON")
    add_row(parser)
    add_build_dir(parser, "where the build left its record")
    parser.add_argument(
        "--measure-compressed",
        action="store_true",
        help="add what a registry would hold: each layer as gzip",
    )
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    matrix = known_matrix()
    for row in select(options.selector, matrix.rows()):
        record = read_record(row_folder(row, options.build_dir))
        if not record:
            message = f"{row} has no record in {shown(options.build_dir or BUILD)}"
            raise NothingSelected(message, hint=f"build it first: ./build.py build {row}")
        if options.measure_compressed:
            measure_row(resolve_spec(matrix, row), record["image_id"], options.build_dir, console)
            record = read_record(row_folder(row, options.build_dir))
        console.result(json.dumps(record, indent=2))
