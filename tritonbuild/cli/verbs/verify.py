"""``verify``: is an image in a registry what was released?"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tritonbuild.cli.flags import Parser, Verbs, add_json
from tritonbuild.cli.values import image_reference_value
from tritonbuild.console import Console
from tritonbuild.trust import verify


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("verify", "check an image in a registry, byte for byte, and the evidence beside it")
    parser.add_argument(
        "reference", type=image_reference_value, metavar="REF", help="HOST/NAME:TAG or HOST/NAME@DIGEST"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="public key (PEM) of who released it")
    add_json(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    with console.step("verify", f"verify {options.reference}") as step:
        verdict = verify(options.reference, options.key, step)
    if not options.key:
        console.warn(
            "no --key was given: the evidence fits the image, but anybody who can push could have made it"
        )
    if options.json:
        console.result(json.dumps(asdict(verdict), indent=2))
        return
    console.result(f"{verdict.reference} is {verdict.digest}")
    console.result(f"row {verdict.row}, built from commit {verdict.revision}")
    console.result(f"{verdict.passed} smoke tests passed on it, {len(verdict.skipped)} were skipped")
    signature = "signed by that key" if options.key else "signed" if verdict.signed else "not signed"
    console.result(f"{verdict.components} components listed; provenance {signature}")
