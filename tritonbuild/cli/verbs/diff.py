"""``diff``: what changes from one row to another."""

from __future__ import annotations

import argparse
import json

from tritonbuild.cli.choosing import known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_json
from tritonbuild.comparing import compare_rows, difference_lines
from tritonbuild.console import Console
from tritonbuild.identifiers import find_row
from tritonbuild.spec import resolve_spec


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("diff", "say what changes from one row to another")
    parser.add_argument("before", metavar="ROW", help="row, such as 24.08-cpu-pypi")
    parser.add_argument("after", metavar="ROW", help="the row to compare it with")
    add_json(parser)
    add_build_dir(parser, "where builds left their records")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    matrix = known_matrix()
    before, after = (
        resolve_spec(matrix, find_row(name, matrix.rows())) for name in (options.before, options.after)
    )
    difference = compare_rows(before, after, options.build_dir)
    if options.json:
        console.result(json.dumps(difference.as_json(), indent=2))
        return
    for line in difference_lines(difference):
        console.result(line)
