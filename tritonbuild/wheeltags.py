"""Which wheels the Python of an image can install."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

_ARCHITECTURE = "x86_64"
# The names that manylinux platforms had before they were named after a version of glibc 2.
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def _platforms(glibc: str) -> Iterator[str]:
    """Yield every platform that a system with this glibc ("2.36") can use, the newest first."""
    for minor in range(int(glibc.removeprefix("2.")), min(_OLD_NAMES) - 1, -1):
        yield f"manylinux_2_{minor}_{_ARCHITECTURE}"
        if minor in _OLD_NAMES:
            yield f"{_OLD_NAMES[minor]}_{_ARCHITECTURE}"
    yield f"linux_{_ARCHITECTURE}"


@functools.cache
def installable_tags(python: str, glibc: str) -> frozenset[Tag]:
    """Return the tags of wheels for CPython ``python`` ("3.11") on x86_64 with this glibc ("2.36")."""
    major, minor = map(int, python.split("."))
    platforms = list(_platforms(glibc))
    interpreter = f"cp{major}{minor}"
    return frozenset(
        [
            *cpython_tags((major, minor), [interpreter], platforms),
            *compatible_tags((major, minor), interpreter, platforms),
        ]
    )


def is_installable(filename: str, python: str, glibc: str) -> bool:
    """Tell whether ``filename`` is a wheel that this Python on this glibc can install."""
    try:
        tags = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return False
    return not tags.isdisjoint(installable_tags(python, glibc))
