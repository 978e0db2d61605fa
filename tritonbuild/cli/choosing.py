"""From words of the command line to rows of the matrix."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterable, Sequence

from tritonbuild.errors import NothingSelected, UsageError
from tritonbuild.features import OPTIONS, FeatureRequest
from tritonbuild.identifiers import (
    SOURCES,
    BuildId,
    check_release,
    did_you_mean,
    leave_out,
    name_some,
    select,
    select_all,
)
from tritonbuild.loading import load_matrix
from tritonbuild.matrix import Matrix
from tritonbuild.paths import MATRIX
from tritonbuild.spec import BuildSpec, default_source, resolve_spec
from tritonbuild.variation import add_row, is_same, vary

# Flags of upstream's build.py that name the release, and those that name its Triton.
_RELEASE_FLAGS = ("upstream_container_version", "container_version", "triton_container_version")
_TRITON_FLAGS = ("version", "release_version")


def known_matrix() -> Matrix:
    """Return the matrix of this checkout; every verb reads it here."""
    return load_matrix(MATRIX)


def select_specs(selector: str) -> list[BuildSpec]:
    """Return the specs of the rows that a shell pattern selects."""
    matrix = known_matrix()
    return [resolve_spec(matrix, row) for row in select(selector, matrix.rows())]


def default_rows(matrix: Matrix) -> list[BuildId]:
    """Return what ``build`` without any flag builds."""
    return _rows_of(matrix, matrix.defaults.release, "cpu", None)


def choose_specs(options: argparse.Namespace, matrix: Matrix) -> tuple[list[BuildSpec], list[str]]:
    """Return what the flags of ``build`` ask for, and the patterns of --skip without a match.

    That is rows, and with --vllm-version rows with another vLLM.
    """
    wider = _add_missing_row(options, matrix) if options.allow_unverified else matrix
    rows, unused = choose_rows(options, wider)
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)

    def as_asked(spec: BuildSpec) -> BuildSpec:
        if options.vllm_version is None and spec.row in matrix.rows():
            return spec
        return vary(
            matrix,
            spec,
            options.vllm_version or spec.vllm,
            allowed=options.allow_unverified,
            now=now,
            build_dir=options.build_dir,
        )

    return [as_asked(resolve_spec(wider, row)) for row in rows], unused


def _add_missing_row(options: argparse.Namespace, matrix: Matrix) -> Matrix:
    """Return the matrix with the one row that is asked for, where it lacks that and can be given it."""
    if options.selectors:
        return matrix
    release = _choose_release(options, matrix)
    known = [row for row in matrix.rows() if (row.release, row.variant) == (release, _variant(options))]
    sources = [options.server_source] if options.server_source else [] if known else SOURCES
    for source in sources:
        row = BuildId(release, _variant(options), source)
        wider = None if row in known else add_row(matrix, row)
        if wider:
            return wider
    return matrix


def choose_rows(options: argparse.Namespace, matrix: Matrix) -> tuple[list[BuildId], list[str]]:
    """Return the rows that the flags of ``build`` ask for, and the patterns of --skip without a match."""
    return keep_rows(options.skip, _asked_for(options, matrix))


def keep_rows(skip: Sequence[str], asked: Sequence[BuildId]) -> tuple[list[BuildId], list[str]]:
    """Return the rows without those of --skip, and the patterns of --skip without a match."""
    rows, unused = leave_out(skip, asked)
    if not rows:
        message = f"--skip leaves nothing: {', '.join(skip)}"
        raise NothingSelected(message, hint="`./build.py list PATTERN` shows what a pattern selects")
    return rows, unused


def _asked_for(options: argparse.Namespace, matrix: Matrix) -> list[BuildId]:
    if options.selectors:
        for name in (*_RELEASE_FLAGS, *_TRITON_FLAGS, "server_source"):
            if getattr(options, name):
                message = f"the row {options.selectors[0]!r} and {_flag(name)} are given together"
                raise UsageError(message, hint="give one of them")
        return select_all(options.selectors, matrix.rows())
    release = _choose_release(options, matrix)
    return _rows_of(matrix, release, _variant(options), options.server_source, options.vllm_version)


def _variant(options: argparse.Namespace) -> str:
    return "cuda" if options.enable_gpu or options.enable_all else "cpu"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _choose_release(options: argparse.Namespace, matrix: Matrix) -> str:
    """Return the one release that every given version names, else the default."""
    asked: dict[str, str] = {}
    for name in _RELEASE_FLAGS:
        if (value := getattr(options, name)) is not None:
            release = check_release(value, flag=_flag(name), known=matrix.releases)
            asked[f"{_flag(name)}={value}"] = release
    for name in _TRITON_FLAGS:
        if (value := getattr(options, name)) is not None:
            asked[f"{_flag(name)}={value}"] = _release_of_triton(value, _flag(name), matrix)
    releases = sorted(set(asked.values()))
    if len(releases) > 1:
        message = f"{' and '.join(asked)} name two releases, {' and '.join(releases)}"
        raise UsageError(message, hint="one image holds one release: give the same twice, or only one flag")
    return releases[0] if releases else matrix.defaults.release


def _release_of_triton(version: str, flag: str, matrix: Matrix) -> str:
    releases = {facts.triton: release for release, facts in sorted(matrix.releases.items())}
    if version not in releases:
        message = f"{flag}: no release of versions.yaml has Triton {version!r}"
        raise UsageError(message, hint=did_you_mean(version, releases))
    return releases[version]


def _rows_of(
    matrix: Matrix, release: str, variant: str, source: str | None, vllm: str | None = None
) -> list[BuildId]:
    """Return the rows of a release and variant, of the default source where none is asked for.

    Of several sources one that has the asked ``vllm`` comes before the default.
    """
    rows = [r for r in matrix.rows() if (r.release, r.variant) == (release, variant)]
    if not rows:
        message = f"versions.yaml has no {variant} image of {release}"
        near = [r for r in matrix.rows() if r.release == release or r.variant == variant]
        near.sort(key=lambda row: row.release != release)
        offer = _offer(matrix, [BuildId(release, variant, s) for s in ([source] if source else SOURCES)])
        raise NothingSelected(message, hint=f"near it: {name_some(map(str, near))}{offer}")
    having = [row for row in rows if vllm and is_same(resolve_spec(matrix, row).vllm, vllm)]
    source = source or default_source(having or rows)
    chosen = [r for r in rows if r.source == source]
    if not chosen:
        message = f"versions.yaml has no {variant} image of {release} from {source!r}"
        offer = _offer(matrix, [BuildId(release, variant, source)])
        raise NothingSelected(message, hint=f"known: {', '.join(map(str, rows))}{offer}")
    return chosen


def _offer(matrix: Matrix, rows: Iterable[BuildId]) -> str:
    possible = any(add_row(matrix, row) for row in rows)
    return "; --allow-unverified puts one together from its neighbours" if possible else ""


def feature_request(options: argparse.Namespace, spec: BuildSpec | None) -> FeatureRequest:
    chosen = {o for o in OPTIONS if getattr(options, f"enable_{o.replace('-', '_')}")}
    if options.enable_all:
        chosen |= {"gpu"} if spec is None else set(spec.server.features.options)
    return FeatureRequest(
        endpoints=tuple(options.endpoint),
        filesystems=tuple(options.filesystem),
        backends=tuple(options.backend),
        options=frozenset(chosen),
    )
