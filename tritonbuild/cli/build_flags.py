"""The flags of ``build``, and the shape that their values must have."""

from __future__ import annotations

import argparse
from pathlib import Path

from tritonbuild.cli.compile_flags import add_compile_flags
from tritonbuild.cli.flags import add_build_dir, add_registry_mirror, add_vllm_version, add_wheelhouse
from tritonbuild.cli.upstream import add_upstream_flags, check_secret_key
from tritonbuild.cli.values import (
    check_secret_name,
    count,
    image_name,
    key_and_image,
    label_value,
    one_of,
)
from tritonbuild.errors import UsageError
from tritonbuild.features import OPTIONS
from tritonbuild.identifiers import SOURCES
from tritonbuild.secrets import check_secret_file


def add_build_flags(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to build")
    what.add_argument(
        "selectors",
        nargs="*",
        metavar="ROW",
        help="rows or shell patterns of rows, such as 24.08-cpu-pypi or '24.*-cpu-*'",
    )
    what.add_argument(
        "--skip", action="append", default=[], metavar="PATTERN", help="leave these rows out (repeat)"
    )
    what.add_argument(
        "--upstream-container-version", metavar="YY.MM", help="Triton release (default: versions.yaml)"
    )
    for flag in ("--container-version", "--triton-container-version"):
        what.add_argument(flag, metavar="YY.MM", help="the same; must name the same release")
    for flag in ("--version", "--release-version"):
        what.add_argument(flag, metavar="X.Y.Z", help="the release by its Triton version; must name the same")
    what.add_argument(
        "--server-source",
        type=one_of("--server-source", SOURCES),
        metavar="SOURCE",
        help="where tritonserver comes from: pypi, ngc or source",
    )
    add_vllm_version(what)
    what.add_argument(
        "--allow-unverified",
        action="store_true",
        help="build what versions.yaml does not hold; the image says so and gets no release tag",
    )
    what.add_argument(
        "--image",
        action="append",
        type=key_and_image,
        default=[],
        metavar="base,REF",
        help="build on another base image; gpu-base,REF is taken and has no effect",
    )
    what.add_argument(
        "--tag",
        action="append",
        type=image_name,
        default=[],
        metavar="NAME[:TAG]",
        help="name of the image (repeat)",
    )
    what.add_argument(
        "--build-id",
        type=label_value("--build-id"),
        metavar="ID",
        help="label com.nvidia.build.id of the image",
    )
    what.add_argument(
        "--build-sha",
        type=label_value("--build-sha"),
        metavar="SHA",
        help="label com.nvidia.build.ref of the image",
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
        "--backend", action="append", default=[], metavar="NAME[:TAG]", help="python, vllm, ensemble (repeat)"
    )

    add_compile_flags(parser)

    how = parser.add_argument_group("how to build")
    how.add_argument(
        "--dryrun", "--dry-run", action="store_true", help="say what would happen, touch nothing"
    )
    add_input_flags(how)
    how.add_argument("--pull", action="store_true", help="pull base and server image even if they are here")
    add_jobs(how)
    how.add_argument(
        "--measure-compressed",
        action="store_true",
        help="also tell what a registry would hold: each layer as gzip",
    )
    add_outcomes_json(how)
    how.add_argument("--no-cache", action="store_true", help="build every step anew")
    how.add_argument("--no-smoke", action="store_true", help="do not run the smoke tests")
    how.add_argument(
        "--force-smoke", action="store_true", help="run them even if this image passed them before"
    )
    how.add_argument(
        "-j",
        "--build-parallel",
        type=count("-j"),
        metavar="N",
        help="compile jobs; a prebuilt server compiles nothing",
    )
    add_upstream_flags(parser.add_argument_group("upstream's flags for what is always so here"))


def add_jobs(how: argparse._ActionsContainer) -> None:
    """Add the flags that say how much goes on at the same time."""
    how.add_argument(
        "--jobs", type=count("--jobs"), default=1, metavar="N", help="rows at work at the same time"
    )
    how.add_argument(
        "--smoke-jobs",
        type=count("--smoke-jobs"),
        default=1,
        metavar="N",
        help="smoke tests at the same time on this machine, other builds included",
    )


def add_outcomes_json(how: argparse._ActionsContainer) -> None:
    how.add_argument("--json", action="store_true", help="what became of each row, as JSON, for programs")


def add_input_flags(how: argparse._ActionsContainer) -> None:
    """Add the flags that say where a build takes things from and where it leaves things."""
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


def check_input_flags(options: argparse.Namespace) -> None:
    """Check the files and folders that ``add_input_flags`` asks for."""
    for name, file in options.build_secret:
        check_secret_name(name)
        check_secret_key(name)
        check_secret_file(f"--build-secret {name}", Path(file))
    if options.ca_cert:
        check_secret_file("--ca-cert", options.ca_cert)
    for folder in options.wheelhouse:
        if not folder.is_dir():
            message = f"--wheelhouse: {folder} is not a folder"
            raise UsageError(message, hint="name a folder that holds *.whl files")


def check_build_flags(options: argparse.Namespace) -> str | None:
    """Check what one value alone does not show; return the base image override."""
    bases = {reference for key, reference in options.image if key == "base"}
    if len(bases) > 1:
        message = f"--image: {len(bases)} base images are given: {', '.join(sorted(bases))}"
        raise UsageError(message, hint="give one of them")
    check_input_flags(options)
    if options.json and options.dryrun:
        message = "--json and --dryrun are given together"
        raise UsageError(
            message, hint="`./build.py list --json` and `show` describe rows without building them"
        )
    return next(iter(bases), None)
