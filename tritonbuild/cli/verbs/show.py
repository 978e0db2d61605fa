"""``show``: all that rows are made of."""

from __future__ import annotations

import argparse
import json

from tritonbuild.cli.choosing import known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_row
from tritonbuild.console import Console
from tritonbuild.identifiers import select
from tritonbuild.spec import resolve_spec
from tritonbuild.tags import image_reference


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("show", "show what a row is made of")
    add_row(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    matrix = known_matrix()
    for row in select(options.selector, matrix.rows()):
        spec = resolve_spec(matrix, row)
        facts = {
            "row": str(row),
            "image": image_reference(spec),
            "triton": spec.triton,
            "lacks": {
                name: ability.otherwise
                for name, ability in matrix.abilities.items()
                if not spec.abilities[name]
            },
            "base": spec.base.model_dump(mode="json"),
            "server": spec.server.model_dump(mode="json"),
            "engine": spec.engine.model_dump(mode="json") if spec.engine else None,
            "model": spec.model.model_dump(mode="json") if spec.model else None,
            "release": matrix.releases[row.release].model_dump(mode="json", exclude={"images"})
            | {"conflicts": [c.model_dump(mode="json") for c in spec.conflicts]},
        }
        console.result(json.dumps(facts, indent=2))
