"""``lock``: the locks of rows, and whether they still hold."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_pattern, add_wheelhouse
from tritonbuild.console import Console
from tritonbuild.errors import LockBroken, UsageError
from tritonbuild.indexes import PackageIndex
from tritonbuild.locking import check_lock, group_locks, write_locks
from tritonbuild.spec import BuildSpec
from tritonbuild.verifying import (
    check_files,
    check_own_wheels,
    check_resolution,
    locked_files,
    read_pages,
    server_files,
)
from tritonbuild.wheels import locate_wheels, wheel_folders


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("lock", "resolve the locks of rows anew")
    add_pattern(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail when a lock is stale or can no longer be had",
    )
    parser.add_argument(
        "--offline", action="store_true", help="with --check: compare with versions.yaml only, ask no index"
    )
    add_wheelhouse(parser, "folder of wheels (repeat)")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    if options.offline and not options.check:
        message = "--offline without --check: locks are resolved by asking an index"
        raise UsageError(message, hint="add --check, or leave --offline out")
    specs = select_specs(options.selector)
    if options.check:
        _check(specs, options, console)
        return
    for request, locks in group_locks(specs).items():
        with console.step("lock", f"lock {locks[0].subject}") as step:
            wheels = locate_wheels(request.wheels, wheel_folders(options.wheelhouse), step)
            changed = write_locks(locks, wheels)
            step.outcome = f"{len(changed)} of {len(locks)} files changed"


def _check(specs: Sequence[BuildSpec], options: argparse.Namespace, console: Console) -> None:
    for spec in specs:
        check_lock(spec)
    console.info(f"the locks of {len(specs)} rows are what versions.yaml says")
    if options.offline:
        return
    groups, folders = group_locks(specs), wheel_folders(options.wheelhouse)
    with console.step("files", "look for every pinned wheel on the index") as step:
        wanted = [*locked_files(groups), *server_files(specs)]
        pages = read_pages(wanted, PackageIndex(), step)
        findings = [*check_files(wanted, pages), *check_own_wheels(groups, folders)]
        step.outcome = f"{len(pages)} packages"
    with console.step("resolution", "resolve every lock anew, as of its cut-off") as step:
        findings += check_resolution(groups, pages, folders, step)
        step.outcome = f"{len(groups)} resolutions"
    for finding in findings:
        if finding.level == "warning":
            console.warn(f"{finding.subject}: {finding.message} -> {finding.remedy}")
    problems = [f"{f.subject}: {f.message}" for f in findings if f.level == "problem"]
    if problems:
        hint = "keep files that are gone in a wheel folder, or run `./build.py lock` and read the diff"
        raise LockBroken("\n".join(problems), hint=hint)
