"""``doctor``: what would stop a build on this machine."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from tritonbuild.cli.choosing import default_rows, known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_json, add_registry_mirror, add_wheelhouse
from tritonbuild.console import Console
from tritonbuild.doctor import examine
from tritonbuild.errors import ProblemsFound
from tritonbuild.identifiers import select
from tritonbuild.spec import resolve_spec


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("doctor", "look for what would stop a build on this machine; changes nothing")
    parser.add_argument("selector", nargs="?", help="row or shell pattern of rows (default: as build)")
    add_json(parser)
    add_build_dir(parser, "where builds leave their records")
    add_wheelhouse(parser, "folder of wheels (repeat)")
    add_registry_mirror(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    matrix = known_matrix()
    rows = select(options.selector, matrix.rows()) if options.selector else default_rows(matrix)
    specs = [resolve_spec(matrix, row) for row in rows]
    findings = examine(specs, options.build_dir, options.wheelhouse, options.registry_mirror)
    if options.json:
        report = {"rows": list(map(str, rows)), "findings": [asdict(finding) for finding in findings]}
        console.result(json.dumps(report, indent=2))
    else:
        for finding in findings:
            console.result(finding.line)
    count = sum(finding.level == "problem" for finding in findings)
    if count:
        message = f"{count} problem{'s' if count > 1 else ''} found"
        raise ProblemsFound(
            message, hint="each has its remedy at the end of its line, or as `remedy` in JSON"
        )
