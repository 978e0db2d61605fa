"""A folder in which one process works at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from tritonbuild.errors import Busy


@contextmanager
def holding(folder: Path, what: str) -> Iterator[Path]:
    """Make the folder and hold it; raise Busy, saying that ``what`` is going on, when another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / "lock", timeout=0):
            yield folder
    except filelock.Timeout as error:
        message = f"{what} by another process"
        raise Busy(message, hint="wait for it, or give this run its own --build-dir") from error
