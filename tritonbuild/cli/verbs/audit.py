"""``audit``: known vulnerabilities of what a row's lock installs."""

from __future__ import annotations

import argparse
import datetime as dt
import json

from tritonbuild.auditing import Audit, audit, check_audit, python_purls, read_allowances
from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_audit_flags, add_json, add_pattern
from tritonbuild.console import Console
from tritonbuild.errors import Vulnerable
from tritonbuild.locking import promised_versions
from tritonbuild.paths import ALLOWANCES


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add(
        "audit", "look for known vulnerabilities of the locked packages; `release` adds Debian's"
    )
    add_pattern(parser)
    add_audit_flags(parser)
    add_json(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    allowances = read_allowances(ALLOWANCES)
    today = dt.datetime.now(dt.timezone.utc).date()
    results: dict[str, Audit] = {}
    asked: dict[tuple[tuple[str, str], ...], Audit] = {}
    for spec in select_specs(options.selector):
        if spec.engine is None:
            console.warn(f"{spec.row}: its packages come with the base, and there is no lock to look at")
            continue
        versions = promised_versions(spec)
        # Rows of one engine share their lock.
        key = tuple(sorted(versions.items()))
        if key not in asked:
            with console.step("audit", f"{spec.row}: {len(versions)} locked packages") as step:
                asked[key] = audit(python_purls(versions), allowances, today=today, service=options.osv_url)
                step.outcome = f"{len(asked[key].findings)} found, {len(asked[key].open)} not allowed"
        results[str(spec.row)] = asked[key]
    if options.json:
        console.result(json.dumps({row: result.as_json() for row, result in results.items()}, indent=2))
    else:
        for row, result in results.items():
            for finding in result.findings:
                state = f"allowed: {finding.allowed}" if finding.allowed else "not allowed"
                console.result(f"{row}: {finding.package} {finding.version}: {finding.ids[0]} ({state})")
    bad = {row: result for row, result in results.items() if result.open}
    if len(bad) == 1:
        check_audit(*next(iter(bad.items())))
    elif bad:
        message = f"{len(bad)} rows have known vulnerabilities that audit.yaml does not allow"
        raise Vulnerable(
            message, hint="take newer versions, or allow them in audit.yaml: why, and until when"
        )
