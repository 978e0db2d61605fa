"""``update``: what is newer than versions.yaml; writes it where asked to."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import docker
from docker.errors import DockerException

from tritonbuild.cli.choosing import known_matrix
from tritonbuild.cli.flags import Parser, Verbs, add_json
from tritonbuild.console import Console
from tritonbuild.engine import Lookup, ask_registry
from tritonbuild.files import write_atomic
from tritonbuild.indexes import PackageIndex
from tritonbuild.loading import load_matrix
from tritonbuild.matrix import Matrix
from tritonbuild.paths import MATRIX
from tritonbuild.updates import Updates, diff_lines, find_updates
from tritonbuild.updates.digests import ImageDigests
from tritonbuild.updates.packages import NewerPackages, StandIns
from tritonbuild.updates.policy import Policy
from tritonbuild.updates.releases import TritonReleases


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("update", "look for newer vLLM, Triton and images than versions.yaml has")
    parser.add_argument(
        "--write", action="store_true", help="change versions.yaml; without it, only say what is new"
    )
    add_json(parser)
    return parser


def make_policies(matrix: Matrix) -> list[Policy]:
    """Return one policy for each family of pins, in the order in which they are asked."""
    index = PackageIndex()
    return [
        StandIns(matrix=matrix, index=index, today=dt.datetime.now(dt.timezone.utc).date()),
        NewerPackages(matrix=matrix, index=index),
        TritonReleases(matrix=matrix),
        ImageDigests(matrix=matrix, ask=_ask_engine),
    ]


def _ask_engine(reference: str) -> Lookup:
    """Let the container engine look an image up; without one nothing is known."""
    try:
        client = docker.from_env()
    except DockerException:
        return Lookup(reached=False, reason="there is no container engine to ask with")
    return ask_registry(client, reference)


def run(options: argparse.Namespace, console: Console) -> None:
    with console.step("update", "look for what is newer") as step:
        updates = find_updates(make_policies(known_matrix()), step)
        step.outcome = f"{len(updates.proposals)} found, {len(updates.unanswered)} not answered"
    before = MATRIX.read_text(encoding="utf-8")
    after = updates.edited(before)
    diff = diff_lines(before, after, MATRIX.name)
    if options.json:
        report = {**asdict(updates), "diff": "\n".join(diff)}
        console.result(json.dumps(report, indent=2))
    else:
        _print(updates, diff, console)
    if options.write and after != before:
        _write(after)
        console.info("wrote versions.yaml; now run `make render lock`, and read the diff")


def _write(text: str) -> None:
    """Write versions.yaml, unless the matrix would not hold together."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / MATRIX.name
        trial.write_text(text, encoding="utf-8")
        load_matrix(trial)
    write_atomic(MATRIX, text)


def _print(updates: Updates, diff: list[str], console: Console) -> None:
    for found in updates.proposals:
        console.result(f"{found.subject}: {found.current} -> {found.latest}")
        console.result(f"    {found.remedy}")
    for question in updates.unanswered:
        console.warn(f"{question.family}: {question.subject}: not asked: {question.reason}")
    for line in diff:
        console.result(line)
