"""The git commit an image is built from."""

from __future__ import annotations

import shutil

from tritonbuild.errors import CommandFailed
from tritonbuild.paths import ROOT
from tritonbuild.process import run


def read_revision() -> str:
    """Return the commit of the checkout, with ``-dirty`` when files differ, or ``unknown``."""
    if shutil.which("git") is None:
        return "unknown"
    try:
        commit = run(["git", "rev-parse", "HEAD"], cwd=ROOT)
        changes = run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT)
    except CommandFailed:
        return "unknown"
    return f"{commit}-dirty" if changes else commit
