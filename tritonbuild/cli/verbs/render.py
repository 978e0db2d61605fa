"""``render``: dockerfiles/ and docker-bake.json out of versions.yaml and templates/."""

from __future__ import annotations

import argparse
import shutil

from tritonbuild.baking import check_bake_file, write_bake_file
from tritonbuild.cli.choosing import default_rows, known_matrix, select_specs
from tritonbuild.cli.flags import Parser, Verbs
from tritonbuild.console import Console
from tritonbuild.paths import BAKE_FILE, ROOT
from tritonbuild.rendering import check_rendered, find_orphans, render_all


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("render", "write dockerfiles/ and docker-bake.json from versions.yaml and templates/")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file would change")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    specs = select_specs("*")
    (default,) = default_rows(known_matrix())
    if options.check:
        check_rendered(specs, all_rows=True)
        check_bake_file(specs, default)
        console.info(
            f"{len(specs)} Dockerfiles and {BAKE_FILE.name} are what versions.yaml and templates/ say"
        )
        return
    for orphan in find_orphans(specs):
        shutil.rmtree(orphan)
        console.info(f"removed {orphan.relative_to(ROOT)}, which no row owns")
    changed = render_all(specs)
    if write_bake_file(specs, default):
        console.info(f"wrote {BAKE_FILE.name}")
    for path in changed:
        console.info(f"wrote {path.relative_to(ROOT)}")
    console.info(f"{len(specs)} Dockerfiles, {len(changed)} changed")
