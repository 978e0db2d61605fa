"""Every failure the driver reports on purpose, each class with its own exit code."""

from __future__ import annotations

import errno
from collections.abc import Sequence


class BuildError(Exception):
    """A failure with a one-line message and, where there is one, a one-line remedy."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BuildError):
    """The command line asks for something malformed or unknown."""

    exit_code = 2


class MatrixError(BuildError):
    """versions.yaml is malformed or contradicts itself."""

    exit_code = 3


class NothingSelected(BuildError):
    """No row of the matrix matches what was asked for."""

    exit_code = 4


class UnsupportedFeature(BuildError):
    """The chosen server or row cannot do what a flag asks for."""

    exit_code = 5


class StaleError(BuildError):
    """A generated file no longer matches what it is generated from."""

    exit_code = 6


class ToolMissing(BuildError):
    """A program or service that the step needs is absent or too old."""

    exit_code = 7


class CommandFailed(BuildError):
    """An external program ended with an error."""

    exit_code = 8

    def __init__(self, message: str, *, tail: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.tail = tuple(tail)


class DownloadFailed(BuildError):
    """A file could not be fetched or is not the file that was pinned."""

    exit_code = 9


class ImageRejected(BuildError):
    """The built image differs from what its row promises."""

    exit_code = 10


class SmokeFailed(BuildError):
    """The built image failed its smoke tests."""

    exit_code = 11


class OverBudget(BuildError):
    """The built image is larger than its row allows."""

    exit_code = 12


class Busy(BuildError):
    """Another process is building the same row."""

    exit_code = 13


class ProblemsFound(BuildError):
    """An examination of the machine found what would make a build fail."""

    exit_code = 14


class Unreachable(BuildError):
    """A server that had to be asked gives no answer, so nothing is known about what it has."""

    exit_code = 15


class LockBroken(BuildError):
    """A lock can no longer be installed or resolved as it was."""

    exit_code = 16


class RowsFailed(BuildError):
    """Several rows failed, and not all of them in the same way."""

    exit_code = 17


class ImagesDiffer(BuildError):
    """Two images that were to be the same are not."""

    exit_code = 18


class RegistryFailed(BuildError):
    """A registry could not be reached, failed, or does not hold what it should."""

    exit_code = 20


class RegistryRefused(BuildError):
    """A registry does not let us do what the step needs."""

    exit_code = 21


class NotTrusted(BuildError):
    """An image, or the evidence beside it, is not what was released."""

    exit_code = 22


class NotPromoted(BuildError):
    """An image lacks what its release needs, and so gets no tag."""

    exit_code = 23


class Vulnerable(BuildError):
    """Something in an image has a known vulnerability that audit.yaml does not allow."""

    exit_code = 24


class BundleFailed(BuildError):
    """A bundle cannot be written, or one that was named is damaged, incomplete or of another row."""

    exit_code = 25


class DiskFull(BuildError):
    """A file could not be written because its disk, or what we may use of it, is full."""

    exit_code = 26


def as_build_error(error: Exception) -> BuildError:
    """Return what to print for any exception."""
    if isinstance(error, BuildError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for {error.filename}" if error.filename else ""
        message = f"no space is left on the disk{where}"
        return DiskFull(message, hint="free some and run the same command again: finished steps are kept")
    message = f"unexpected {type(error).__name__}: {error}"
    return BuildError(message, hint="run it again with --debug and report the traceback")
