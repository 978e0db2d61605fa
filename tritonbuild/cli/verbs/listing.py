"""``list``: the rows of the matrix."""

from __future__ import annotations

import argparse
import json

from rich.table import Table

from tritonbuild.cli.choosing import default_rows, known_matrix, select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_pattern
from tritonbuild.comparing import describe_row
from tritonbuild.console import Console
from tritonbuild.tags import image_reference


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("list", "list the rows of the matrix")
    add_pattern(parser)
    parser.add_argument(
        "--default", action="store_true", help="only what `build` builds when it is asked for nothing"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for CI")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    specs = select_specs(options.selector)
    if options.default:
        default = default_rows(known_matrix())
        specs = [spec for spec in specs if spec.row in default]
    if options.json:
        console.result(json.dumps([describe_row(s) for s in specs], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("row", "Triton", "vLLM", "torch", "CUDA", "image"):
        table.add_column(title)
    for s in specs:
        table.add_row(str(s.row), s.triton, s.vllm, s.torch or "-", s.cuda or "-", image_reference(s))
    console.table(table)
