"""The command line: parse, check, dispatch, and turn every failure into a line and a code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from tritonbuild.cli.parsing import parse_arguments
from tritonbuild.console import Console
from tritonbuild.errors import BuildError, as_build_error
from tritonbuild.process import signals_interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Nothing below this function ends the process."""
    console = Console()
    debug = False
    try:
        options = parse_arguments(sys.argv[1:] if argv is None else argv)
        debug = options.debug
        console.verbose, console.quiet = options.verbose, options.quiet
        with signals_interrupt():
            options.run(options, console)
    except BuildError as error:
        if debug:
            traceback.print_exc()
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.error(BuildError("interrupted", hint="run the same command again; finished steps are kept"))
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        failure = as_build_error(error)
        console.error(failure)
        return failure.exit_code
    return 0
