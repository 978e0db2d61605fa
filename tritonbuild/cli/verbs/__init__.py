"""The verbs: each is a module with ``add_parser`` and ``run``, listed here in the order of --help."""

from __future__ import annotations

import argparse
from typing import Final, Protocol

from tritonbuild.cli.flags import Parser, Verbs
from tritonbuild.cli.verbs import (
    audit,
    build,
    bundle,
    compare,
    context,
    diff,
    doctor,
    inspect,
    listing,
    lock,
    release,
    render,
    report,
    reproduce,
    show,
    smoke,
    update,
    verify,
)
from tritonbuild.console import Console


class Verb(Protocol):
    """What a module must hold to be a verb."""

    def add_parser(self, verbs: Verbs, /) -> Parser:
        """Add the verb; return its parser, which has the flags that are the verb's own."""

    def run(self, options: argparse.Namespace, console: Console, /) -> None:
        """Do what the verb is for; raise a BuildError where that fails."""


VERBS: Final[tuple[Verb, ...]] = (
    build,
    listing,
    show,
    diff,
    render,
    lock,
    context,
    inspect,
    smoke,
    bundle,
    audit,
    release,
    verify,
    compare,
    reproduce,
    report,
    doctor,
    update,
)
