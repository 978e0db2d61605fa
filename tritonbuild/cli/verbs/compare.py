"""``compare``: whether two images hold the same files and settings."""

from __future__ import annotations

import argparse
import json

from tritonbuild.cli.flags import Parser, Verbs, add_json
from tritonbuild.console import Console
from tritonbuild.engine import connect
from tritonbuild.errors import ImagesDiffer
from tritonbuild.imagediff import ImageDifference, compare_images, report_lines


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("compare", "say where two images differ: every file, every setting")
    parser.add_argument("first", metavar="IMAGE", help="an image that the engine has")
    parser.add_argument("second", metavar="IMAGE", help="the image to compare it with")
    add_json(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    with console.step("compare", f"compare {options.first} with {options.second}"):
        difference = compare_images(connect(), options.first, options.second)
    report(difference, console, as_json=options.json)


def report(difference: ImageDifference, console: Console, *, as_json: bool) -> None:
    """Print where two images differ; raise ImagesDiffer unless it is nowhere."""
    if as_json:
        console.result(json.dumps(difference.as_json(), indent=2))
    else:
        for line in report_lines(difference):
            console.result(line)
    if not difference.is_empty:
        message = f"{difference.images[0]} and {difference.images[1]} are not the same"
        raise ImagesDiffer(message, hint="docs/reproducing.md says what may differ, and why")
