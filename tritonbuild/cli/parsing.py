"""From words to options: the whole parser, and where no verb stands first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tritonbuild.cli.flags import OUTPUT_FLAGS, Parser, Verbs, add_output_flags
from tritonbuild.cli.verbs import VERBS
from tritonbuild.errors import UsageError
from tritonbuild.identifiers import did_you_mean, nearest

_EPILOG = """\
Without a verb, `build` is meant: ./build.py --upstream-container-version=24.08
Exit codes: 0 done; 1 unexpected; 2 usage; 3 versions.yaml; 4 no such row; 5 feature not there;
6 stale file; 7 tool missing; 8 program failed; 9 download; 10 image not as promised;
11 smoke test; 12 too large; 13 busy; 14 doctor found problems;
15 no answer from a server; 16 a lock no longer holds; 17 rows failed in different ways;
18 images differ; 20 a registry failed; 21 a registry refused; 22 not what was released;
23 not promoted; 24 known vulnerability; 25 a bundle; 26 disk full; 130 interrupted."""


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser and its verbs; ``run`` among the options is the verb's function."""
    parser = Parser(
        prog="build.py",
        description=sys.modules["tritonbuild"].__doc__,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = Verbs(parser)
    for verb in VERBS:
        own = verb.add_parser(verbs)
        add_output_flags(own)
        own.set_defaults(run=verb.run)
    return parser, verbs.parsers


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; ``build`` is meant where no verb stands first."""
    parser, verbs = make_parser()
    words = list(argv)
    first = next((i for i, word in enumerate(words) if word not in OUTPUT_FLAGS), 0)
    if first and words[first] in verbs:  # ./build.py -v list
        words = [*words[first:], *words[:first]]
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "build")
    elif words[0] not in verbs and not words[0].startswith("-"):
        message = f"unknown verb {words[0]!r}"
        raise UsageError(message, hint=did_you_mean(words[0], verbs))
    options, unknown = parser.parse_known_args(words)
    if "selectors" in options:  # argparse takes one run of them, and leaves those behind a flag
        options.selectors += [word for word in unknown if not word.startswith("-")]
        unknown = [word for word in unknown if word.startswith("-")]
    if unknown:
        flag = unknown[0].partition("=")[0]
        close = nearest(flag, verbs[options.verb].known_flags())
        message = f"unknown argument {unknown[0]!r}"
        raise UsageError(
            message, hint=f"did you mean {close}?" if close else f"see build.py {options.verb} --help"
        )
    return options
