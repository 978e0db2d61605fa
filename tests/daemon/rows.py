"""The row that tests of real builds take."""

from __future__ import annotations

from tritonbuild.identifiers import find_row
from tritonbuild.loading import load_matrix
from tritonbuild.paths import MATRIX
from tritonbuild.spec import BuildSpec, resolve_spec


def default_row() -> BuildSpec:
    """Return the cpu row of the default release, whose server comes in a wheel."""
    matrix = load_matrix(MATRIX)
    return resolve_spec(matrix, find_row(f"{matrix.defaults.release}-cpu-pypi", matrix.rows()))
