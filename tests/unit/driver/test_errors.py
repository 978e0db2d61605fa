from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from tritonbuild import errors


def _failures(top: type[errors.BuildError] = errors.BuildError) -> Iterator[type[errors.BuildError]]:
    yield top
    for kind in top.__subclasses__():
        yield from _failures(kind)


def test_every_failure_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in _failures()]
    assert len(codes) >= 10
    assert len(codes) == len(set(codes))


def test_exit_codes_leave_room_for_success_and_signals() -> None:
    assert all(1 <= kind.exit_code < 126 for kind in _failures())


def test_a_failure_carries_message_and_hint() -> None:
    error = errors.StaleError("x is stale", hint="run y")
    assert (str(error), error.message, error.hint) == ("x is stale", "x is stale", "run y")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_failure_of_its_own(number: int) -> None:
    failure = errors.as_build_error(OSError(number, "full", "build/x/record.json"))
    assert isinstance(failure, errors.DiskFull)
    assert "build/x/record.json" in failure.message


def test_any_other_exception_asks_for_a_report() -> None:
    failure = errors.as_build_error(OSError(errno.EACCES, "no"))
    assert (failure.exit_code, "--debug" in str(failure.hint)) == (1, True)
