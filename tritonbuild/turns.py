"""Turns on this machine: what only so many processes may do at the same time, whoever starts them."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED = Path("/run/lock")
_PAUSE = 0.2


class Turn:
    """One of the ``places`` there are for ``name``; the system frees it when its holder dies.

    Processes that allow different numbers of places share the first ones.
    """

    def __init__(self, name: str, *, places: int = 1) -> None:
        folder = _SHARED if os.access(_SHARED, os.W_OK) else Path(tempfile.gettempdir())
        self._files = [folder / f"tritonbuild-{name}-{place}.lock" for place in range(places)]
        self._held: int | None = None

    def take(self) -> bool:
        """Take a free place; False when there is none right now."""
        for file in self._files:
            handle = _open(file)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                self._held = handle
                return True
        return False

    def give_back(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def wait(self, check: Callable[[], None]) -> bool:
        """Take a place once one is free; ``check`` is called meanwhile, and may raise. True after a wait."""
        waited = False
        while not self.take():
            waited = True
            check()
            time.sleep(_PAUSE)
        return waited


@contextmanager
def alone(name: str, check: Callable[[], None]) -> Iterator[bool]:
    """Do something that nobody else on this machine does meanwhile; True when somebody just did."""
    turn = Turn(name)
    waited = turn.wait(check)
    try:
        yield waited
    finally:
        turn.give_back()


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDONLY | os.O_CREAT, 0o644)
    except PermissionError:  # another user's, in a folder where O_CREAT is for the owner alone
        return os.open(file, os.O_RDONLY)
