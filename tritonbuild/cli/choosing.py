"""From words of the command line to rows of the matrix."""

from __future__ import annotations

import argparse

from tritonbuild.errors import NothingSelected, UsageError
from tritonbuild.features import OPTIONS, FeatureRequest
from tritonbuild.identifiers import BuildId, check_release, select
from tritonbuild.loading import load_matrix
from tritonbuild.matrix import Matrix
from tritonbuild.paths import MATRIX
from tritonbuild.spec import BuildSpec, default_source, resolve_spec


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
    return _rows_of(matrix, release, variant, options.server_source)


def _rows_of(matrix: Matrix, release: str, variant: str, source: str | None) -> list[BuildId]:
    """Return the rows of a release and variant, of the default source where none is asked for."""
    rows = [r for r in matrix.rows() if (r.release, r.variant) == (release, variant)]
    if not rows:
        message = f"versions.yaml has no {variant} image of {release}"
        others = ", ".join(str(r) for r in matrix.rows() if r.release == release or r.variant == variant)
        raise NothingSelected(message, hint=f"near it: {others}")
    source = source or default_source(rows)
    chosen = [r for r in rows if r.source == source]
    if not chosen:
        message = f"versions.yaml has no {variant} image of {release} from {source!r}"
        raise NothingSelected(message, hint=f"known: {', '.join(map(str, rows))}")
    return chosen


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
