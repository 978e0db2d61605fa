"""What every command line of the driver is made of: the parser, the verbs, flags that verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from tritonbuild.errors import UsageError

OUTPUT_FLAGS = frozenset({"-v", "--verbose", "-q", "--quiet", "--debug"})


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are UsageErrors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see {self.prog} --help")

    def known_flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]


class Verbs:
    """Collects the parsers of the verbs."""

    def __init__(self, parser: Parser) -> None:
        self._subparsers = parser.add_subparsers(
            dest="verb", metavar="VERB", required=True, parser_class=Parser
        )
        self.parsers: dict[str, Parser] = {}

    def add(self, name: str, text: str) -> Parser:
        """Return the parser of a new verb."""
        parser = self._subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        self.parsers[name] = parser
        return parser


def add_output_flags(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="show every line of the build")
    parser.add_argument("-q", "--quiet", action="store_true", help="show results, warnings and errors only")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def add_build_dir(parser: argparse._ActionsContainer, text: str) -> None:
    parser.add_argument("--build-dir", type=Path, metavar="DIR", help=text)


def add_wheelhouse(parser: argparse._ActionsContainer, text: str) -> None:
    parser.add_argument("--wheelhouse", action="append", type=Path, default=[], metavar="DIR", help=text)


def add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def add_row(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("selector", help="row, such as 24.08-cpu-pypi")


def add_pattern(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("selector", nargs="?", default="*", help="shell pattern of rows")
