"""``release``: images in a registry, each proven there before it gets its tags."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from tritonbuild.batch import Outcome, is_interrupted
from tritonbuild.cli.build_flags import add_input_flags, add_jobs, add_outcomes_json, check_input_flags
from tritonbuild.cli.choosing import default_rows, keep_rows, known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_audit_flags
from tritonbuild.cli.values import repository_name
from tritonbuild.console import Console
from tritonbuild.identifiers import select_all
from tritonbuild.images import PullPolicy
from tritonbuild.overview import find_failure, keep_summary, make_overview, overview_table
from tritonbuild.pipeline import BuildOptions
from tritonbuild.releasing import Released, ReleaseOptions, release_folder, release_rows
from tritonbuild.secrets import check_secret_file
from tritonbuild.spec import resolve_spec


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("release", "build, push, prove what the registry has, and promote images")
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
    add_input_flags(parser)
    add_jobs(parser)
    add_outcomes_json(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    matrix = known_matrix()
    check_input_flags(options)
    if options.sign_key:
        check_secret_file("--sign-key", options.sign_key)
    asked = select_all(options.selectors, matrix.rows()) if options.selectors else default_rows(matrix)
    rows, unused = keep_rows(options.skip, asked)
    for pattern in unused:
        console.warn(f"--skip: no selected row matches {pattern!r}")
    specs = [resolve_spec(matrix, row) for row in rows]
    release = ReleaseOptions(
        repository=options.registry,
        build=BuildOptions(
            build_dir=options.build_dir,
            wheelhouses=options.wheelhouse,
            ca_cert=options.ca_cert,
            build_secrets={name: Path(file) for name, file in options.build_secret},
            pulling=PullPolicy(mirror=options.registry_mirror, allowed=not options.no_container_pull),
            smoke_jobs=options.smoke_jobs,
        ),
        without_gpu=options.without_gpu,
        allow_dirty=options.allow_dirty,
        require_audit=options.require_audit,
        osv_url=options.osv_url,
        key=options.sign_key,
    )
    started = time.monotonic()
    outcomes = release_rows(specs, release, console, jobs=options.jobs)
    _report(outcomes, release, options, time.monotonic() - started, console)
    if is_interrupted(outcomes):
        raise KeyboardInterrupt
    failure = find_failure(outcomes, log="release.log")
    if failure:
        raise failure


def _report(
    outcomes: Sequence[Outcome],
    release: ReleaseOptions,
    options: argparse.Namespace,
    seconds: float,
    console: Console,
) -> None:
    released = [outcome.result for outcome in outcomes if isinstance(outcome.result, Released)]
    places = {o.spec.row: release_folder(o.spec, release.repository, options.build_dir) for o in outcomes}
    overview = make_overview(
        outcomes,
        jobs=options.jobs,
        seconds=seconds,
        log_of=lambda spec: places[spec.row] / "release.log",
        compressed={result.spec.row: result.compressed for result in released},
        digests={result.spec.row: result.digest for result in released},
    )
    about = {result.spec.name: {"tags": result.tags, "signed": result.signed} for result in released}
    text = json.dumps({"repository": release.repository, "released": about, **overview.as_json()}, indent=2)
    keep_summary(places[outcomes[0].spec.row].parent / "summary.json", text, console)
    if options.json:
        console.result(text)
    else:
        console.table(overview_table(overview))
