"""What every command line of the driver is made of: the parser, the verbs, flags that verbs share."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NoReturn

from tritonbuild.auditing import SERVICE
from tritonbuild.cli.values import service_url, vllm_version
from tritonbuild.errors import UsageError

_PATH_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_MIRROR = re.compile(rf"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)(?P<port>:[0-9]{{1,5}})?(/{_PATH_PART})*")
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
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="show every line of the build")
    loudness.add_argument("-q", "--quiet", action="store_true", help="show results, warnings and errors only")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def add_build_dir(parser: argparse._ActionsContainer, text: str) -> None:
    parser.add_argument("--build-dir", type=Path, metavar="DIR", help=text)


def add_wheelhouse(parser: argparse._ActionsContainer, text: str) -> None:
    parser.add_argument("--wheelhouse", action="append", type=Path, default=[], metavar="DIR", help=text)


def add_vllm_version(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--vllm-version", type=vllm_version, metavar="X", help="another vLLM than the row's")


def add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def add_row(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("selector", help="row, such as 24.08-cpu-pypi")


def add_pattern(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("selector", nargs="?", default="*", help="shell pattern of rows")


def check_mirror(value: str) -> str:
    """Return the value of --registry-mirror when image names can start with it."""
    match = _MIRROR.fullmatch(value)
    if match is None:
        message = f"--registry-mirror: {value!r} is not HOST[:PORT][/PREFIX]"
        raise UsageError(
            message, hint="such as mirror.example:5000/ngc, without https:// and without / at the end"
        )
    # The engine takes any other first word for a folder of Docker Hub.
    if "." not in match["host"] and match["host"] != "localhost" and not match["port"]:
        message = f"--registry-mirror: {match['host']!r} is no host that an engine would ask"
        raise UsageError(message, hint=f"give its full name, or its port: {match['host']}:443")
    return value


def add_registry_mirror(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--registry-mirror",
        type=check_mirror,
        metavar="HOST[/PREFIX]",
        help="pull every image from this mirror of NGC and Docker Hub instead",
    )


def add_audit_flags(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--osv-url",
        type=service_url,
        default=SERVICE,
        metavar="URL",
        help="database of vulnerabilities that speaks OSV's API (default: %(default)s)",
    )
