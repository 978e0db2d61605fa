"""``context``: what `docker buildx bake` builds from, gathered here for builders elsewhere."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from tritonbuild.baking import machine_text, target_name
from tritonbuild.cli.choosing import select_specs
from tritonbuild.cli.flags import Parser, Verbs, add_build_dir, add_wheelhouse
from tritonbuild.console import Console
from tritonbuild.files import write_atomic
from tritonbuild.paths import BAKE_FILE, BUILD, shown
from tritonbuild.pipeline import BuildOptions, stage_row
from tritonbuild.revision import read_revision
from tritonbuild.secrets import check_secret_file, collect_secrets


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("context", "gather the build contexts of rows for docker buildx bake")
    parser.add_argument("selector", help="row or shell pattern of rows")
    add_build_dir(parser, "where the contexts go (default: build/)")
    add_wheelhouse(parser, "folder of wheels to use before downloading (repeat)")
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="certificates to trust while building")
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    if options.ca_cert:
        check_secret_file("--ca-cert", options.ca_cert)
    specs = select_specs(options.selector)
    folder = options.build_dir or BUILD
    build_options = BuildOptions(build_dir=folder, wheelhouses=options.wheelhouse)
    for spec in specs:
        stage_row(spec, build_options, console)
    secrets = collect_secrets(folder, ca_cert=options.ca_cert, given={})
    text = machine_text(
        {name: path.absolute() for name, path in secrets.items()},
        revision=read_revision(),
        environment=os.environ,
    )
    write_atomic(folder / "bake.json", text)
    argv = ["docker", "buildx", "bake", "-f", BAKE_FILE.name, "-f", shown(folder / "bake.json")]
    argv += [target_name(spec.row) for spec in specs]
    setting = "" if folder == BUILD else f"CONTEXTS={shlex.quote(shown(folder))} "
    console.result(f"{setting}{shlex.join(argv)}")
