"""The flags of ``build``, and the shape that their values must have."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tritonbuild.cli.flags import add_build_dir, add_registry_mirror, add_wheelhouse
from tritonbuild.errors import UsageError
from tritonbuild.features import OPTIONS
from tritonbuild.secrets import check_secret_file

_NAME = r"[a-z0-9][a-z0-9./_-]*(:[0-9]+/[a-z0-9./_-]+)?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
_TAG = re.compile(_NAME)
_IMAGE_REF = re.compile(_NAME + r"(@sha256:[0-9a-f]{64})?")


def add_build_flags(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to build")
    what.add_argument(
        "selector", nargs="?", help="row or shell pattern of rows, such as 24.08-cpu-pypi or '24.*-cpu-*'"
    )
    what.add_argument(
        "--upstream-container-version", metavar="YY.MM", help="Triton release (default: versions.yaml)"
    )
    what.add_argument("--container-version", metavar="YY.MM", help="the same; must agree with the flag above")
    what.add_argument(
        "--server-source", choices=("pypi", "ngc", "source"), help="where tritonserver comes from"
    )
    what.add_argument(
        "--image", action="append", default=[], metavar="base,REF", help="build on another base image"
    )
    what.add_argument(
        "--tag", action="append", default=[], metavar="NAME[:TAG]", help="name of the image (repeat)"
    )
    what.add_argument(
        "--bake-model", type=Path, metavar="PATH", help="bake this Hugging Face model folder into the image"
    )

    server = parser.add_argument_group("server features, checked against the chosen server")
    for option in OPTIONS:
        text = "a cuda image instead of a cpu image" if option == "gpu" else f"the server must have {option}"
        server.add_argument(f"--enable-{option}", action="store_true", help=text)
    server.add_argument("--enable-all", action="store_true", help="a cuda image with all that its server has")
    server.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAME",
        help="http, grpc, sagemaker, vertex-ai (repeat)",
    )
    server.add_argument(
        "--filesystem", action="append", default=[], metavar="NAME", help="gcs, s3, azure_storage (repeat)"
    )
    server.add_argument(
        "--backend", action="append", default=[], metavar="NAME[:TAG]", help="python, vllm (repeat)"
    )

    how = parser.add_argument_group("how to build")
    how.add_argument(
        "--dryrun", "--dry-run", action="store_true", help="say what would happen, touch nothing"
    )
    add_build_dir(how, "where logs, records and the context go (default: build/)")
    add_wheelhouse(how, "folder of wheels to use before downloading (repeat)")
    how.add_argument(
        "--ca-cert",
        type=Path,
        metavar="FILE",
        help="certificates to trust while building; not kept in the image",
    )
    how.add_argument(
        "--build-secret",
        action="append",
        nargs=2,
        default=[],
        metavar=("NAME", "FILE"),
        help="a BuildKit secret for the build steps (repeat)",
    )
    add_registry_mirror(how)
    how.add_argument("--no-container-pull", action="store_true", help="never pull an image")
    how.add_argument("--pull", action="store_true", help="pull base and server image even if they are here")
    how.add_argument("--no-cache", action="store_true", help="build every step anew")
    how.add_argument("--no-smoke", action="store_true", help="do not run the smoke tests")
    how.add_argument(
        "--force-smoke", action="store_true", help="run them even if this image passed them before"
    )
    how.add_argument(
        "-j",
        "--build-parallel",
        type=int,
        metavar="N",
        help="compile jobs; a prebuilt server compiles nothing",
    )
    how.add_argument(
        "--no-container-interactive",
        action="store_true",
        help="always so; accepted as upstream's build.py does",
    )


def check_build_flags(options: argparse.Namespace) -> str | None:
    """Check the shape of free-form values; return the base image override."""
    base = None
    for value in options.image:
        key, _, reference = value.partition(",")
        if key != "base" or not _IMAGE_REF.fullmatch(reference):
            message = f"--image: {value!r} is not base,REF"
            raise UsageError(message, hint="such as --image base,debian:bookworm-slim")
        base = reference
    for tag in options.tag:
        if not _TAG.fullmatch(tag):
            message = f"--tag: {tag!r} is not an image name"
            raise UsageError(message, hint="such as --tag registry.example/triton:24.08")
    for name, _ in options.build_secret:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            message = f"--build-secret: {name!r} is not a name"
            raise UsageError(message, hint="letters, digits, dot, dash and underscore")
    for name, file in options.build_secret:
        check_secret_file(f"--build-secret {name}", Path(file))
    if options.ca_cert:
        check_secret_file("--ca-cert", options.ca_cert)
    for folder in options.wheelhouse:
        if not folder.is_dir():
            message = f"--wheelhouse: {folder} is not a folder"
            raise UsageError(message, hint="name a folder that holds *.whl files")
    if options.build_parallel is not None and options.build_parallel < 1:
        message = f"-j: {options.build_parallel} is not a number of jobs"
        raise UsageError(message, hint="give 1 or more, or leave it out")
    return base
