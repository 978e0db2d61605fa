"""``lock``: requirements.lock of rows."""

from __future__ import annotations

import argparse

from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_pattern, add_wheelhouse
from tritonbuild.console import Console
from tritonbuild.locking import check_lock, group_locks, write_locks
from tritonbuild.wheels import locate_wheels, wheel_folders


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("lock", "resolve requirements.lock of rows anew")
    add_pattern(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a lock is stale")
    add_wheelhouse(parser, "folder of wheels (repeat)")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    specs = select_specs(options.selector)
    if options.check:
        for spec in specs:
            check_lock(spec)
        console.info(f"the locks of {len(specs)} rows are what versions.yaml says")
        return
    for request, locks in group_locks(specs).items():
        with console.step("lock", f"lock {locks[0].subject}") as step:
            wheels = locate_wheels(request.wheels, wheel_folders(options.wheelhouse), step)
            changed = write_locks(locks, wheels)
            step.outcome = f"{len(changed)} of {len(locks)} files changed"
