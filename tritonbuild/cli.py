"""The command line: parse, check, dispatch, and turn every failure into a line and a code."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from rich.table import Table

from tritonbuild import buildkit
from tritonbuild.comparing import compare_rows, describe_row, difference_lines
from tritonbuild.console import Console
from tritonbuild.context import BakedFolder, check_model_folder
from tritonbuild.doctor import examine
from tritonbuild.errors import BuildError, NothingSelected, ProblemsFound, UnsupportedFeature, UsageError
from tritonbuild.features import OPTIONS, FeatureRequest, check_features, check_spelling
from tritonbuild.identifiers import BuildId, check_release, did_you_mean, find_row, nearest, select
from tritonbuild.locking import check_lock, write_lock
from tritonbuild.matrix import Matrix, load_matrix
from tritonbuild.paths import BUILD, MATRIX, ROOT
from tritonbuild.pipeline import BuildOptions, build_row, smoke_row
from tritonbuild.records import read_record, row_folder
from tritonbuild.rendering import check_rendered, find_orphans, render_all
from tritonbuild.secrets import check_secret_file
from tritonbuild.spec import BuildSpec, default_source, resolve_spec
from tritonbuild.summary import closing_lines, parts_table, plan_lines
from tritonbuild.tags import image_reference
from tritonbuild.wheels import locate_wheels, wheel_folders

_NAME = r"[a-z0-9][a-z0-9./_-]*(:[0-9]+/[a-z0-9./_-]+)?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
_TAG = re.compile(_NAME)
_IMAGE_REF = re.compile(_NAME + r"(@sha256:[0-9a-f]{64})?")

_OUTPUT_FLAGS = frozenset({"-v", "--verbose", "-q", "--quiet", "--debug"})

_EPILOG = """\
Without a verb, `build` is meant: ./build.py --upstream-container-version=24.08
Exit codes: 0 done; 1 unexpected; 2 usage; 3 versions.yaml; 4 no such row; 5 feature not there;
6 stale file; 7 tool missing; 8 program failed; 9 download; 10 image not as promised;
11 smoke test; 12 too large; 13 busy; 14 doctor found problems;
130 interrupted."""


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are UsageErrors with the nearest flag."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see {self.prog} --help")

    def known_flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]


def _add_build_flags(parser: argparse.ArgumentParser) -> None:
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
    how.add_argument(
        "--build-dir",
        type=Path,
        metavar="DIR",
        help="where logs, records and the context go (default: build/)",
    )
    how.add_argument(
        "--wheelhouse",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="folder of wheels to use before downloading (repeat)",
    )
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
    how.add_argument("--no-container-pull", action="store_true", help="never pull a base image")
    how.add_argument("--pull", action="store_true", help="pull the base image even if one is here")
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
    _add_output_flags(how)


def _add_output_flags(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="show every line of the build")
    parser.add_argument("-q", "--quiet", action="store_true", help="show results, warnings and errors only")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def make_parser() -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser and its verbs."""
    parser = _Parser(
        prog="build.py",
        description=sys.modules["tritonbuild"].__doc__,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    made: dict[str, _Parser] = {}

    def add(name: str, text: str) -> _Parser:
        made[name] = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        return made[name]

    _add_build_flags(add("build", "build, inspect and smoke-test images"))
    listing = add("list", "list the rows of the matrix")
    listing.add_argument("selector", nargs="?", default="*", help="shell pattern of rows")
    listing.add_argument("--json", action="store_true", help="as JSON, for CI")
    show = add("show", "show what a row is made of")
    show.add_argument("selector", help="row, such as 24.08-cpu-pypi")
    diff = add("diff", "say what changes from one row to another")
    diff.add_argument("before", metavar="ROW", help="row, such as 24.08-cpu-pypi")
    diff.add_argument("after", metavar="ROW", help="the row to compare it with")
    diff.add_argument("--json", action="store_true", help="as JSON, for programs")
    diff.add_argument("--build-dir", type=Path, metavar="DIR", help="where builds left their records")
    render = add("render", "write dockerfiles/ from versions.yaml and templates/")
    render.add_argument("--check", action="store_true", help="write nothing; fail when a file would change")
    lock = add("lock", "resolve requirements.lock of rows anew")
    lock.add_argument("selector", nargs="?", default="*", help="shell pattern of rows")
    lock.add_argument("--check", action="store_true", help="write nothing; fail when a lock is stale")
    lock.add_argument(
        "--wheelhouse",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="folder of wheels (repeat)",
    )
    inspect = add("inspect", "show what the last build of a row holds, as JSON")
    inspect.add_argument("selector", help="row, such as 24.08-cpu-pypi")
    inspect.add_argument("--build-dir", type=Path, metavar="DIR", help="where the build left its record")
    smoke = add("smoke", "run the smoke tests against an image")
    smoke.add_argument("selector", help="row, such as 24.08-cpu-pypi")
    smoke.add_argument("--image", metavar="REF", help="image to test (default: the row's tag)")
    smoke.add_argument("--build-dir", type=Path, metavar="DIR", help="where records go")
    doctor = add("doctor", "look for what would stop a build on this machine; changes nothing")
    doctor.add_argument("selector", nargs="?", help="row or shell pattern of rows (default: as build)")
    doctor.add_argument("--json", action="store_true", help="as JSON, for programs")
    doctor.add_argument("--build-dir", type=Path, metavar="DIR", help="where builds leave their records")
    doctor.add_argument(
        "--wheelhouse",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="folder of wheels (repeat)",
    )
    for verb in made.values():
        if verb is not made["build"]:
            _add_output_flags(verb)
    return parser, made


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; ``build`` is meant where no verb stands first."""
    parser, verbs = make_parser()
    words = list(argv)
    first = next((i for i, word in enumerate(words) if word not in _OUTPUT_FLAGS), 0)
    if first and words[first] in verbs:  # ./build.py -v list
        words = [*words[first:], *words[:first]]
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "build")
    elif words[0] not in verbs and not words[0].startswith("-"):
        message = f"unknown verb {words[0]!r}"
        raise UsageError(message, hint=did_you_mean(words[0], verbs))
    options, unknown = parser.parse_known_args(words)
    if unknown:
        flag = unknown[0].partition("=")[0]
        close = nearest(flag, verbs[options.verb].known_flags())
        message = f"unknown argument {unknown[0]!r}"
        raise UsageError(
            message, hint=f"did you mean {close}?" if close else f"see build.py {options.verb} --help"
        )
    return options


def _feature_request(options: argparse.Namespace, spec: BuildSpec | None) -> FeatureRequest:
    chosen = {o for o in OPTIONS if getattr(options, f"enable_{o.replace('-', '_')}")}
    if options.enable_all:
        chosen |= {"gpu"} if spec is None else set(spec.server.features.options)
    return FeatureRequest(
        endpoints=tuple(options.endpoint),
        filesystems=tuple(options.filesystem),
        backends=tuple(options.backend),
        options=frozenset(chosen),
    )


def choose_rows(options: argparse.Namespace, matrix: Matrix) -> list[BuildId]:
    """Return the rows that the flags of ``build`` ask for."""
    if options.selector:
        for flag in ("upstream_container_version", "container_version", "server_source"):
            if getattr(options, flag):
                message = f"the row {options.selector!r} and --{flag.replace('_', '-')} are given together"
                raise UsageError(message, hint="give one of them")
        return select(options.selector, matrix.rows())
    flags = {
        f"--{name.replace('_', '-')}": getattr(options, name)
        for name in ("upstream_container_version", "container_version")
        if getattr(options, name) is not None
    }
    releases = {check_release(value, flag=flag, known=matrix.releases) for flag, value in flags.items()}
    if len(releases) > 1:
        message = f"{' and '.join(f'{k}={v}' for k, v in flags.items())} name two releases"
        raise UsageError(message, hint="one image holds one release: give the same twice, or only one flag")
    release = releases.pop() if releases else matrix.defaults.release
    variant = "cuda" if options.enable_gpu or options.enable_all else "cpu"
    rows = [r for r in matrix.rows() if (r.release, r.variant) == (release, variant)]
    if not rows:
        message = f"versions.yaml has no {variant} image of {release}"
        others = ", ".join(str(r) for r in matrix.rows() if r.release == release or r.variant == variant)
        raise NothingSelected(message, hint=f"near it: {others}")
    source = options.server_source or default_source(rows)
    chosen = [r for r in rows if r.source == source]
    if not chosen:
        message = f"versions.yaml has no {variant} image of {release} from {source!r}"
        raise NothingSelected(message, hint=f"known: {', '.join(map(str, rows))}")
    return chosen


def _check_build_flags(options: argparse.Namespace) -> str | None:
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


def run_build(options: argparse.Namespace, console: Console) -> None:
    base = _check_build_flags(options)
    check_spelling(_feature_request(options, None))
    matrix = load_matrix(MATRIX)
    specs = [resolve_spec(matrix, row) for row in choose_rows(options, matrix)]
    everything = [resolve_spec(matrix, row) for row in matrix.rows()]
    for spec in specs:
        flag = "--enable-gpu" if options.enable_gpu else "--enable-all" if options.enable_all else None
        if flag and not spec.is_cuda:
            message = f"{flag} asks for a cuda image, {spec.row} is a cpu image"
            raise UnsupportedFeature(message, hint=f"name a cuda row, or leave {flag} out")
        for remark in check_features(_feature_request(options, spec), spec, everything):
            console.info(f"note: {remark}")
    if options.tag and len(specs) > 1:
        message = f"--tag names one image, but {len(specs)} rows are selected"
        raise UsageError(message, hint="select one row, or leave --tag out")
    baked = check_model_folder(options.bake_model) if options.bake_model else None
    if options.dryrun:
        for spec in specs:
            _print_plan(spec, options, base or spec.base.pinned_ref, baked, console)
        return
    build_options = BuildOptions(
        build_dir=options.build_dir,
        wheelhouses=options.wheelhouse,
        baked=baked,
        ca_cert=options.ca_cert,
        build_secrets={name: Path(file) for name, file in options.build_secret},
        base_override=base,
        tags=options.tag,
        allow_pull=not options.no_container_pull,
        force_pull=options.pull,
        no_cache=options.no_cache,
        smoke=not options.no_smoke,
        force_smoke=options.force_smoke,
    )
    for spec in specs:
        console.seconds.clear()
        result = build_row(spec, build_options, console)
        console.table(parts_table(result))
        console.result("")
        for line in closing_lines(result):
            console.result(line)


def _print_plan(
    spec: BuildSpec, options: argparse.Namespace, base: str, baked: BakedFolder | None, console: Console
) -> None:
    """Say what a build would do. Reads files only: no engine is asked, nothing is written."""
    check_rendered([spec])
    check_lock(spec)
    folder = row_folder(spec.row, options.build_dir)
    tags = options.tag or [image_reference(spec)]
    argv = buildkit.build_argv(
        buildkit.Builder(("docker", "build")),
        context=folder / "context",
        build_args={"BASE_IMAGE": base},
        labels={},
        secrets={},
        iidfile=folder / "image.id",
        no_cache=options.no_cache,
    )
    model = baked.name if baked else (spec.model.name if spec.model else None)
    words = [shlex.quote(word) for word in argv]
    for line in plan_lines(spec, words, tags=tags, base=base, model=model):
        console.result(line)


def run_list(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    specs = [resolve_spec(matrix, row) for row in select(options.selector, matrix.rows())]
    if options.json:
        console.result(json.dumps([describe_row(s) for s in specs], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("row", "Triton", "vLLM", "torch", "CUDA", "image"):
        table.add_column(title)
    for s in specs:
        table.add_row(str(s.row), s.triton, s.vllm, s.engine.torch, s.engine.cuda or "-", image_reference(s))
    console.table(table)


def run_show(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    for row in select(options.selector, matrix.rows()):
        spec = resolve_spec(matrix, row)
        facts = {
            "row": str(row),
            "image": image_reference(spec),
            "triton": spec.triton,
            "base": spec.base.model_dump(mode="json"),
            "server": spec.server.model_dump(mode="json"),
            "engine": spec.engine.model_dump(mode="json"),
            "model": spec.model.model_dump(mode="json") if spec.model else None,
            "release": matrix.releases[row.release].model_dump(mode="json", exclude={"images"})
            | {"conflicts": [c.model_dump(mode="json") for c in spec.conflicts]},
        }
        console.result(json.dumps(facts, indent=2))


def run_diff(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    before, after = (
        resolve_spec(matrix, find_row(name, matrix.rows())) for name in (options.before, options.after)
    )
    difference = compare_rows(before, after, options.build_dir)
    if options.json:
        console.result(json.dumps(difference.as_json(), indent=2))
        return
    for line in difference_lines(difference):
        console.result(line)


def run_render(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    specs = [resolve_spec(matrix, row) for row in matrix.rows()]
    if options.check:
        check_rendered(specs, all_rows=True)
        console.info(f"{len(specs)} Dockerfiles are what versions.yaml and templates/ say")
        return
    for orphan in find_orphans(specs):
        shutil.rmtree(orphan)
        console.info(f"removed {orphan.relative_to(ROOT)}, which no row owns")
    changed = render_all(specs)
    for path in changed:
        console.info(f"wrote {path.relative_to(ROOT)}")
    console.info(f"{len(specs)} Dockerfiles, {len(changed)} changed")


def run_lock(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    specs = [resolve_spec(matrix, row) for row in select(options.selector, matrix.rows())]
    for spec in specs:
        if options.check:
            check_lock(spec)
            continue
        with console.step("lock", f"{spec.row}: lock as of {spec.engine.cutoff:%Y-%m-%d}") as step:
            wheels = locate_wheels(spec.engine.wheels, wheel_folders(options.wheelhouse), step)
            changed = write_lock(spec, wheels)
            step.outcome = f"{len(changed)} files changed"
    if options.check:
        console.info(f"{len(specs)} locks are what versions.yaml says")


def run_inspect(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    for row in select(options.selector, matrix.rows()):
        record = read_record(row_folder(row, options.build_dir))
        if not record:
            message = f"{row} has no record in {options.build_dir or BUILD.relative_to(ROOT)}"
            raise NothingSelected(message, hint=f"build it first: ./build.py build {row}")
        console.result(json.dumps(record, indent=2))


def run_smoke(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    rows = select(options.selector, matrix.rows())
    if options.image and len(rows) > 1:
        message = f"--image names one image, but {len(rows)} rows are selected"
        raise UsageError(message, hint="select one row")
    for row in rows:
        spec = resolve_spec(matrix, row)
        result = smoke_row(spec, options.image or image_reference(spec), options.build_dir, console)
        console.result(f"{row}: {result.passed} passed, {len(result.skipped)} skipped")
        for reason in result.skipped:
            console.result(f"  skipped {reason}")


def run_doctor(options: argparse.Namespace, console: Console) -> None:
    matrix = load_matrix(MATRIX)
    if options.selector:
        rows = select(options.selector, matrix.rows())
    else:
        rows = choose_rows(parse_arguments(["build"]), matrix)
    specs = [resolve_spec(matrix, row) for row in rows]
    findings = examine(specs, options.build_dir, options.wheelhouse)
    if options.json:
        report = {"rows": list(map(str, rows)), "findings": [asdict(finding) for finding in findings]}
        console.result(json.dumps(report, indent=2))
    else:
        for finding in findings:
            console.result(finding.line)
    count = sum(finding.level == "problem" for finding in findings)
    if count:
        message = f"{count} problem{'s' if count > 1 else ''} found"
        raise ProblemsFound(
            message, hint="each has its remedy at the end of its line, or as `remedy` in JSON"
        )


_VERBS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "build": run_build,
    "list": run_list,
    "show": run_show,
    "diff": run_diff,
    "render": run_render,
    "lock": run_lock,
    "inspect": run_inspect,
    "smoke": run_smoke,
    "doctor": run_doctor,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Nothing below this function ends the process."""
    console = Console()
    debug = False
    try:
        options = parse_arguments(sys.argv[1:] if argv is None else argv)
        debug = options.debug
        console.verbose, console.quiet = options.verbose, options.quiet
        _VERBS[options.verb](options, console)
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
        message = f"unexpected {type(error).__name__}: {error}"
        console.error(BuildError(message, hint="run it again with --debug and report the traceback"))
        return 1
    return 0
