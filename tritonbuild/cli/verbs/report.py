"""``report``: a page of what was built, proven and released."""

from __future__ import annotations

import argparse
from pathlib import Path

from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_pattern
from tritonbuild.console import Console
from tritonbuild.files import write_atomic
from tritonbuild.paths import BUILD, shown
from tritonbuild.reporting import collect, render_report


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("report", "write a page of what was built, proven and released: one HTML file")
    add_pattern(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to (default: build/report.html)")
    add_build_dir(parser, "where builds and releases left their records")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    rows = collect(select_specs(options.selector), options.build_dir)
    output = options.output or (options.build_dir or BUILD) / "report.html"
    write_atomic(output, render_report(rows))
    console.result(shown(output))
