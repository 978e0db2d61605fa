"""``release``: images in a registry, each proven there before it gets its tags."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from tritonbuild.cli.choosing import known_matrix
from tritonbuild.cli.flags import (
    Parser,
    Verbs,
    add_audit_flags,
    add_build_dir,
    add_json,
    add_registry_mirror,
    add_wheelhouse,
)
from tritonbuild.cli.values import repository_name
from tritonbuild.console import Console
from tritonbuild.errors import BuildError, RowsFailed, UsageError, as_build_error
from tritonbuild.files import write_atomic
from tritonbuild.identifiers import leave_out, select_all
from tritonbuild.images import PullPolicy
from tritonbuild.pipeline import BuildOptions
from tritonbuild.releasing import Released, ReleaseOptions, release_folder, release_row
from tritonbuild.secrets import check_secret_file
from tritonbuild.spec import BuildSpec, resolve_spec


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("release", "build, prove, push, prove again and promote images")
    parser.add_argument("selectors", nargs="*", metavar="ROW", help="rows or patterns (default: as build)")
    parser.add_argument("--skip", action="append", default=[], metavar="PATTERN", help="leave these rows out")
    parser.add_argument(
        "--registry",
        type=repository_name,
        required=True,
        metavar="HOST/NAME",
        help="the repository that the images go to",
    )
    parser.add_argument(
        "--sign-key", type=Path, metavar="FILE", help="private key (PEM) that signs the provenance"
    )
    parser.add_argument(
        "--without-gpu",
        action="store_true",
        help="promote cuda rows that no GPU has proven; the provenance says so",
    )
    parser.add_argument(
        "--allow-dirty", action="store_true", help="release a checkout with changes that are not committed"
    )
    add_audit_flags(parser)
    parser.add_argument(
        "--require-audit",
        action="store_true",
        help="promote nothing when the database of vulnerabilities cannot be asked",
    )
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="certificates to trust while building")
    add_wheelhouse(parser, "folder of wheels to use before downloading (repeat)")
    add_registry_mirror(parser)
    add_build_dir(parser, "where logs, records and evidence go (default: build/)")
    add_json(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    matrix = known_matrix()
    for flag, file in (("--sign-key", options.sign_key), ("--ca-cert", options.ca_cert)):
        if file:
            check_secret_file(flag, file)
    selectors = options.selectors or [f"{matrix.defaults.release}-cpu-*"]
    rows, unused = leave_out(options.skip, select_all(selectors, matrix.rows()))
    for pattern in unused:
        console.warn(f"--skip: no selected row matches {pattern!r}")
    if not rows:
        message = "--skip leaves nothing to release"
        raise UsageError(message, hint="`./build.py list PATTERN` shows what a pattern selects")
    release = ReleaseOptions(
        repository=options.registry,
        build=BuildOptions(
            build_dir=options.build_dir,
            wheelhouses=options.wheelhouse,
            ca_cert=options.ca_cert,
            pulling=PullPolicy(mirror=options.registry_mirror),
        ),
        without_gpu=options.without_gpu,
        allow_dirty=options.allow_dirty,
        require_audit=options.require_audit,
        osv_url=options.osv_url,
        key=options.sign_key,
    )
    outcomes: list[tuple[BuildSpec, Released | BuildError]] = []
    for spec in (resolve_spec(matrix, row) for row in rows):
        own = replace(console, seconds={})
        try:
            outcomes.append((spec, release_row(spec, release, own)))
        except Exception as error:
            failure = as_build_error(error)
            outcomes.append((spec, failure))
            if len(rows) > 1:
                console.error(failure)
    _report(outcomes, release, options.json, console)
    failures = [outcome for _, outcome in outcomes if isinstance(outcome, BuildError)]
    if len(rows) == 1 or len({type(failure) for failure in failures}) == 1:
        for failure in failures[:1]:
            raise failure
    elif failures:
        message = f"{len(failures)} of {len(rows)} rows are not released"
        raise RowsFailed(message, hint="run the same command again: finished steps are kept")


def _report(
    outcomes: list[tuple[BuildSpec, Released | BuildError]],
    release: ReleaseOptions,
    as_json: bool,
    console: Console,
) -> None:
    entries = [
        {
            "row": str(spec.row),
            "digest": outcome.digest,
            "tags": list(outcome.tags),
            "signed": outcome.signed,
            "passed": outcome.passed,
            "skipped": list(outcome.skipped),
        }
        if isinstance(outcome, Released)
        else {"row": str(spec.row), "error": outcome.message}
        for spec, outcome in outcomes
    ]
    text = json.dumps({"repository": release.repository, "rows": entries}, indent=2)
    folder = release_folder(outcomes[0][0], release.repository, release.build.build_dir).parent
    write_atomic(folder / "summary.json", text + "\n")
    if as_json:
        console.result(text)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("row", "digest", "tests", "tags"):
        table.add_column(title)
    for spec, outcome in outcomes:
        if isinstance(outcome, Released):
            tests = f"{outcome.passed} passed, {len(outcome.skipped)} skipped"
            table.add_row(str(spec.row), outcome.digest[:19], tests, "\n".join(outcome.tags))
        else:
            table.add_row(str(spec.row), "-", "-", f"not released: {outcome.message.splitlines()[0]}")
    console.table(table)
