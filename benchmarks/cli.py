"""The command line."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.models import SHAPES, write_model
from benchmarks.plan import TARGETS, Plan, find_memory_problem

MODES = {"full": (False,), "stream": (True,), "both": (False, True)}


def main(arguments: Sequence[str]) -> int:
    """Return 0, or 1 when an answer was wrong or a target could not be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "model":
        write_model(options.shape, options.folder)
        return 0
    if options.command == "report":
        from benchmarks.report import write_report

        for path in options.results:
            write_report(path, json.loads(path.read_text(encoding="utf-8")), plot=not options.no_plot)
        return 0
    return _run(options, parser)


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from benchmarks.report import write_report
    from benchmarks.run import run
    from benchmarks.targets import make_target

    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        plan = _plan(options, work)
        plan.out.mkdir(parents=True, exist_ok=True)
        problem = find_memory_problem(plan) if machine.gpus() else None
        if problem:
            parser.error(problem)
        results = run(plan, make_target)
        write_report(plan.out / f"{plan.name}.json", results, plot=not options.no_plot)
    for problem in results["problems"]:
        sys.stderr.write(f"problem: {problem}\n")
    return 1 if results["problems"] else 0


def _plan(options: argparse.Namespace, work: Path) -> Plan:
    engine_args: dict[str, Any] = {}
    if options.model in SHAPES:
        engine_args["model"] = str(write_model(options.model, work))
        engine_args["load_format"] = "dummy"
        counting = "words"
    else:
        engine_args["model"] = str(Path(options.model).resolve())
        counting = "reported"
    engine_args.update(dict(options.engine_arg))
    targets = (*options.targets.split(","), *(["other"] if options.other_backend else []))
    return Plan(
        name=options.name or f"{Path(options.model).name}",
        model=options.model,
        engine_args=engine_args,
        targets=targets,
        concurrency=tuple(int(number) for number in options.concurrency.split(",")),
        modes=MODES[options.mode],
        seconds=options.seconds,
        # Each target is in each place of the order equally often.
        rounds=options.rounds or 2 * len(targets),
        in_turns=not options.one_at_a_time,
        max_tokens=options.max_tokens,
        counting=counting,
        port=options.port,
        client_processes=options.client_processes,
        client_realtime=options.client_realtime,
        profile_seconds=options.profile,
        triton=options.triton.resolve() if options.triton else None,
        backend=options.backend.resolve() if options.backend else None,
        other_backend=options.other_backend.resolve() if options.other_backend else None,
        work=work,
        out=options.out.resolve(),
    )


def _engine_arg(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        msg = "write NAME=VALUE, the value as JSON or as plain text"
        raise argparse.ArgumentTypeError(msg)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure; needs an environment with vLLM")
    run.add_argument("--model", default="tiny-opt", help=f"{', '.join(SHAPES)} (random weights) or a folder")
    run.add_argument("--name", help="of the result files; default: the model's")
    run.add_argument("--targets", default=",".join(TARGETS), help="default: %(default)s")
    run.add_argument(
        "--triton", type=Path, help="a server tree (bin, lib, backends) or an unpacked nvidia-pytriton"
    )
    run.add_argument("--backend", type=Path, help="backend to use in place of the tree's own")
    run.add_argument(
        "--other-backend",
        type=Path,
        metavar="FOLDER",
        help="measure this vLLM backend as well",
    )
    run.add_argument("--concurrency", default="1,16,64", help="default: %(default)s")
    run.add_argument("--mode", choices=sorted(MODES), default="both")
    run.add_argument(
        "--seconds", type=float, default=4.0, help="of a target's turn in a round, default: %(default)s"
    )
    run.add_argument(
        "--rounds", type=int, help="in each, every target has one turn at a load; default: twice the targets"
    )
    run.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="stop each target before the next one starts, for a machine that has memory for one engine",
    )
    run.add_argument("--max-tokens", type=int, default=128, help="default: %(default)s")
    run.add_argument("--engine-arg", type=_engine_arg, action="append", default=[], metavar="NAME=VALUE")
    run.add_argument(
        "--port", type=int, default=28000, help="the first of three for each target, default: %(default)s"
    )
    run.add_argument("--client-processes", type=int, default=1, help="default: %(default)s")
    run.add_argument("--client-realtime", action="store_true", help="at real-time priority; for few cores")
    run.add_argument(
        "--profile", type=int, default=0, metavar="SECONDS", help="record the backend with py-spy"
    )
    run.add_argument("--work", type=Path, help="keep logs and the model here")
    run.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    run.add_argument("--no-plot", action="store_true", help="without matplotlib")
    report = commands.add_parser("report", help="write the tables and the plot of results anew")
    report.add_argument("results", type=Path, nargs="+")
    report.add_argument("--no-plot", action="store_true")
    model = commands.add_parser("model", help="write a model with random weights")
    model.add_argument("shape", choices=sorted(SHAPES))
    model.add_argument("folder", type=Path)
    return parser
