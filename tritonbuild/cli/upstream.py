"""Flags of upstream's build.py and compose.py that change nothing here, or that nothing here can honour."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from tritonbuild.errors import UnsupportedFeature, UsageError
from tritonbuild.identifiers import did_you_mean

# Flag -> why it is accepted without an effect.
ALWAYS_SO: Final[Mapping[str, str]] = {
    "--no-container-interactive": "a build never asks",
    "--no-container-source": "no image carries the sources of third parties",
    "--no-force-clone": "sources are fetched once, at a pinned commit",
}

_CONTAINERS = "an image is always built inside containers"
_ONE_SERVER = "the server is one of versions.yaml, with all that its row says"
_NO_SUCH_BACKEND = "the images hold the backends python and vllm"

# Flag -> why it cannot be honoured, and what to do instead.
REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "--build-presets-file": (
        "a row of versions.yaml is the preset",
        "leave it out; `./build.py show ROW` prints every pin",
    ),
    "--cmake-dir": (_CONTAINERS, "leave it out"),
    "--container-memory": (
        "BuildKit has no limit for one build",
        "leave it out; limit the engine or the builder instead",
    ),
    "--container-prebuild-command": (
        "what an image holds follows from versions.yaml alone",
        "leave it out; prepare a base image and give it with --image base,REF",
    ),
    "--dcgm-version": ("DCGM comes with the server of the row", "leave it out"),
    "--enable-mali-gpu": ("no row is built for Mali GPUs", "leave it out"),
    "--install-dir": (_CONTAINERS, "leave it out; --build-dir says where logs and records go"),
    "--library-paths": (_CONTAINERS, "leave it out"),
    "--no-container-build": (_CONTAINERS, "leave it out; a machine with docker is all that a build needs"),
    "--no-core-build": (_ONE_SERVER, "leave it out"),
    "--ort-openvino-version": (_NO_SUCH_BACKEND, "leave it out"),
    "--ort-version": (_NO_SUCH_BACKEND, "leave it out"),
    "--output-name": ("that is compose.py's flag", "write --tag NAME[:TAG]"),
    "--rhel-py-version": ("the images stand on Debian and Ubuntu", "leave it out"),
    "--skip-pull": ("that is compose.py's flag", "write --no-container-pull"),
    "--standalone-openvino-version": (_NO_SUCH_BACKEND, "leave it out"),
    "--tmp-dir": (_CONTAINERS, "leave it out"),
    "--triton-wheels-dependencies-group": ("the images hold no wheels of Triton", "leave it out"),
    "--use-user-docker-config": (
        "the docker client reads its own configuration, and proxies come from the environment",
        "leave it out; set DOCKER_CONFIG or HTTPS_PROXY before the command",
    ),
    "--work-dir": ("that is compose.py's flag", "write --build-dir DIR"),
}

# Flag -> the values that say how it is anyway, those that upstream knows besides, and why they cannot be.
ONLY: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...], str]]] = {
    "--target-platform": (
        ("linux",),
        ("igpu", "jetpack", "rhel", "windows"),
        "every image is Debian's or Ubuntu's Linux",
    ),
    "--target-machine": (("x86_64", "amd64"), ("aarch64", "arm64"), "every image is for x86_64"),
}

# Key of upstream's --build-secret that steers its build -> why it cannot be honoured.
REFUSED_SECRETS: Final[Mapping[str, str]] = {
    "build_public_vllm": "vLLM is always the public one, or the one of the base image",
    "req": "what is installed follows from the row's lock",
}


class _Refuse(argparse.Action):
    """Ends the parsing with the reason that stands in the table."""

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        flag = self.option_strings[0]
        why, instead = REFUSED[flag]
        message = f"{flag} cannot be honoured: {why}"
        raise UnsupportedFeature(message, hint=instead)


def check_secret_key(name: str) -> None:
    """Raise where upstream's build.py takes the secret for an instruction."""
    if name in REFUSED_SECRETS:
        message = f"--build-secret {name} cannot be honoured: {REFUSED_SECRETS[name]}"
        raise UnsupportedFeature(message, hint="leave it out; `./build.py show ROW` prints every pin")


def _only(flag: str) -> Callable[[str], str]:
    """Return a type that takes the values which change nothing."""
    taken, others, why = ONLY[flag]

    def check(value: str) -> str:
        if value in taken:
            return value
        if value in others:
            message = f"{flag} {value} cannot be honoured: {why}"
            raise UnsupportedFeature(message, hint=f"leave it out, or write {flag} {taken[0]}")
        message = f"{flag}: unknown value {value!r}"
        raise UsageError(message, hint=did_you_mean(value, [*taken, *others]))

    return check


def add_upstream_flags(parser: argparse._ActionsContainer) -> None:
    """Add the flags of the tables; --help leaves out those that are refused, docs/command-line.md has all."""
    for flag, why in ALWAYS_SO.items():
        parser.add_argument(flag, action="store_true", help=f"always so: {why}")
    for flag, (taken, _, _) in ONLY.items():
        parser.add_argument(flag, type=_only(flag), metavar=taken[0], help=f"always so: {taken[0]}")
    for flag in REFUSED:
        parser.add_argument(flag, action=_Refuse, nargs="?", help=argparse.SUPPRESS)
