"""``lock``: requirements.lock of rows."""

from __future__ import annotations

import argparse

from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_pattern, add_wheelhouse
from tritonbuild.console import Console
from tritonbuild.locking import check_lock, write_lock
from tritonbuild.wheels import locate_wheels, wheel_folders


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("lock", "resolve requirements.lock of rows anew")
    add_pattern(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a lock is stale")
    add_wheelhouse(parser, "folder of wheels (repeat)")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    specs = select_specs(options.selector)
    for spec in specs:
        if options.check:
            check_lock(spec)
            continue
        with console.step("lock", f"{spec.row}: lock as of {spec.as_of:%Y-%m-%d}") as step:
            wheels = locate_wheels(spec.wheels, wheel_folders(options.wheelhouse), step)
            changed = write_lock(spec, wheels)
            step.outcome = f"{len(changed)} files changed"
    if options.check:
        console.info(f"{len(specs)} locks are what versions.yaml says")
