"""``build``: images, each inspected and proven."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from tritonbuild import buildkit
from tritonbuild.batch import Outcome, build_rows, is_interrupted
from tritonbuild.cli.build_flags import add_build_flags, check_build_flags
from tritonbuild.cli.choosing import choose_specs, feature_request, known_matrix
from tritonbuild.cli.compile_flags import compile_by_flags, compile_remarks, refuse_compile_flags
from tritonbuild.cli.flags import Parser, Verbs
from tritonbuild.compressing import measure_row
from tritonbuild.console import Console
from tritonbuild.context import BakedFolder, check_model_folder
from tritonbuild.errors import BuildError, UnsupportedFeature, UsageError
from tritonbuild.features import check_features, check_spelling
from tritonbuild.identifiers import BuildId
from tritonbuild.images import PullPolicy
from tritonbuild.labels import given_labels
from tritonbuild.layers import Layers
from tritonbuild.locking import check_lock
from tritonbuild.overview import Overview, find_failure, keep_summary, make_overview, overview_table
from tritonbuild.paths import shown
from tritonbuild.pipeline import BuildOptions, image_arguments
from tritonbuild.records import row_folder, summary_file
from tritonbuild.references import mirror_reference
from tritonbuild.rendering import check_rendered
from tritonbuild.sources import Compiling, choose_mirror
from tritonbuild.spec import BuildSpec, resolve_spec
from tritonbuild.summary import closing_lines, parts_table, plan_lines
from tritonbuild.tags import image_reference


def add_parser(verbs: Verbs) -> Parser:
    parser = verbs.add("build", "build, inspect and smoke-test images")
    add_build_flags(parser)
    return parser


def run(options: argparse.Namespace, console: Console) -> None:
    base = check_build_flags(options)
    check_spelling(feature_request(options, None))
    matrix = known_matrix()
    specs, unused = choose_specs(options, matrix)
    for pattern in unused:
        console.warn(f"--skip: no selected row matches {pattern!r}")
    everything = [resolve_spec(matrix, row) for row in matrix.rows()]
    for spec in specs:
        flag = "--enable-gpu" if options.enable_gpu else "--enable-all" if options.enable_all else None
        if flag and not spec.is_cuda:
            message = f"{flag} asks for a cuda image, {spec.row} is a cpu image"
            raise UnsupportedFeature(message, hint=f"name a cuda row, or leave {flag} out")
    specs = [_as_asked(spec, options, everything, console) for spec in specs]
    if options.tag and len(specs) > 1:
        message = f"--tag names one image, but {len(specs)} rows are selected"
        raise UsageError(message, hint="select one row, or leave --tag out")
    for spec in specs:
        release_name = image_reference(dataclasses.replace(spec, unverified=()))
        if spec.unverified and release_name in options.tag:
            message = f"--tag: {release_name} is the name of the proven image"
            raise UsageError(message, hint=f"leave --tag out; the image will be {image_reference(spec)}")
    for key, reference in options.image:
        if key == "gpu-base":
            console.info(
                f"note: --image gpu-base,{reference} has no effect: only upstream's pytorch backend uses it"
            )
    baked = check_model_folder(options.bake_model) if options.bake_model else None
    compiling = choose_mirror(
        options.source_mirror, options.build_parallel if any(spec.plan for spec in specs) else None
    )
    if options.dryrun:
        for spec in specs:
            _print_plan(spec, options, base, baked, compiling, console)
        return
    build_options = BuildOptions(
        build_dir=options.build_dir,
        wheelhouses=options.wheelhouse,
        baked=baked,
        ca_cert=options.ca_cert,
        build_secrets={name: Path(file) for name, file in options.build_secret},
        base_override=base,
        tags=options.tag,
        pulling=PullPolicy(
            mirror=options.registry_mirror,
            allowed=not options.no_container_pull,
            always=options.pull,
        ),
        no_cache=options.no_cache,
        smoke=not options.no_smoke,
        force_smoke=options.force_smoke,
        labels=given_labels(options.build_id, options.build_sha),
        smoke_jobs=options.smoke_jobs,
        compiling=compiling,
    )
    started = time.monotonic()
    outcomes = build_rows(specs, build_options, console, jobs=options.jobs)
    elapsed = time.monotonic() - started
    compressed: dict[BuildId, Layers] = {}
    try:
        if options.measure_compressed and not is_interrupted(outcomes):
            _measure(outcomes, compressed, options.build_dir, console)
    finally:  # whatever happens, nothing of what was built is lost
        overview = make_overview(
            outcomes,
            jobs=options.jobs,
            seconds=elapsed,
            log_of=lambda spec: row_folder(spec.name, options.build_dir) / "build.log",
            compressed=compressed,
        )
        _report(overview, outcomes, options, console)
    if is_interrupted(outcomes):
        raise KeyboardInterrupt
    failure = find_failure(outcomes)
    if failure:
        raise failure


def _measure(
    outcomes: Sequence[Outcome],
    compressed: dict[BuildId, Layers],
    build_dir: Path | None,
    console: Console,
) -> None:
    """Fill ``compressed`` for every image; an image that cannot be measured is told and passed over."""
    for outcome in outcomes:
        if outcome.result:
            spec = outcome.spec
            try:
                compressed[spec.row] = measure_row(spec, outcome.result.image_id, build_dir, console)
            except BuildError as error:
                console.warn(error.message)


def _report(
    overview: Overview, outcomes: Sequence[Outcome], options: argparse.Namespace, console: Console
) -> None:
    text = json.dumps(overview.as_json(), indent=2)
    keep_summary(summary_file(options.build_dir), text, console)
    if options.json:
        console.result(text)
    elif len(outcomes) > 1:
        console.table(overview_table(overview))
    elif outcomes[0].result:
        result = outcomes[0].result
        console.table(parts_table(result))
        console.result("")
        for line in closing_lines(result, compressed_size=overview.lines[0].compressed_size):
            console.result(line)


def _as_asked(
    spec: BuildSpec, options: argparse.Namespace, everything: list[BuildSpec], console: Console
) -> BuildSpec:
    """Return the row as the flags ask for it; raise where its server cannot be had so."""
    if spec.plan:
        spec = compile_by_flags(options, spec)
        remarks = compile_remarks(spec)
    else:
        refuse_compile_flags(options, spec)
        remarks = check_features(feature_request(options, spec), spec, everything)
    for remark in remarks:
        console.info(f"note: {remark}")
    return spec


def _print_plan(
    spec: BuildSpec,
    options: argparse.Namespace,
    override: str | None,
    baked: BakedFolder | None,
    compiling: Compiling,
    console: Console,
) -> None:
    """Say what a build would do. Reads files only: no engine is asked, nothing is written."""
    if not spec.unverified:
        if spec.is_committed:
            check_rendered([spec])
        check_lock(spec)
    folder = Path(shown(row_folder(spec.name, options.build_dir)))
    tags = options.tag or [image_reference(spec)]
    base = override or mirror_reference(spec.base.pinned_ref, options.registry_mirror)
    server = spec.server.pinned_ref and mirror_reference(spec.server.pinned_ref, options.registry_mirror)
    argv = buildkit.build_argv(
        buildkit.Builder(("docker", "build")),
        context=folder / "context",
        build_args={**image_arguments(spec, base, server), **compiling.arguments(spec)},
        labels=given_labels(options.build_id, options.build_sha),
        secrets={},
        iidfile=folder / "image.id",
        no_cache=options.no_cache,
    )
    model = baked.name if baked else (spec.model.name if spec.model else None)
    words = [shlex.quote(word) for word in argv]
    for line in plan_lines(spec, words, tags=tags, base=base, server=server, model=model):
        console.result(line)
