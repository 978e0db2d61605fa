"""Names of releases and rows: ``24.08`` and ``24.08-cpu-pypi``."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tritonbuild.errors import NothingSelected, UsageError

VARIANTS = ("cpu", "cuda")
SOURCES = ("pypi", "ngc", "source")

_RELEASE = re.compile(r"2\d\.(0[1-9]|1[0-2])")


@dataclass(frozen=True, order=True)
class BuildId:
    """One row of the matrix: release x variant x server source."""

    release: str
    variant: str
    source: str

    def __str__(self) -> str:
        return f"{self.release}-{self.variant}-{self.source}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` was most likely meant to be, if any is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def name_some(words: Iterable[str], count: int = 20) -> str:
    """Return the words as a list, cut where it would no longer be read."""
    known = list(words)
    more = f" and {len(known) - count} more" if len(known) > count else ""
    return ", ".join(known[:count]) + more


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, and the others."""
    choices = sorted(known)
    match = nearest(word, choices)
    listing = name_some(choices)
    return f"did you mean {match!r}? known: {listing}" if match else f"known: {listing}"


def _nearest_rows(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest rows; there are too many to name all."""
    close = difflib.get_close_matches(word, sorted(known), n=4, cutoff=0.5)
    every = "`./build.py list` shows every row"
    if not close:
        return every
    also = f" also near: {', '.join(close[1:])};" if close[1:] else ""
    return f"did you mean {close[0]!r}?{also} {every}"


def check_release(value: str, *, flag: str, known: Iterable[str]) -> str:
    """Return ``value`` when it names a release of the matrix; raise UsageError otherwise."""
    choices = sorted(known)
    if not _RELEASE.fullmatch(value):
        message = f"{flag}: {value!r} is not a release of the form YY.MM"
        padded = re.fullmatch(r"(2\d)\.([1-9])", value)
        guess = f"{padded[1]}.0{padded[2]}" if padded else nearest(value, choices) or choices[-1]
        raise UsageError(message, hint=f"write it as two digits, a dot, two digits: {guess}")
    if value not in choices:
        message = f"{flag}: release {value} is not in versions.yaml"
        closest = min(choices, key=lambda release: abs(_months(release) - _months(value)))
        raise UsageError(message, hint=f"the closest is {closest}; known: {name_some(choices)}")
    return value


def _months(release: str) -> int:
    year, month = map(int, release.split("."))
    return 12 * year + month


def select(pattern: str, known: Iterable[BuildId]) -> list[BuildId]:
    """Return the rows whose id matches a shell-style ``pattern``, in order."""
    rows = sorted(known)
    chosen = [row for row in rows if fnmatch.fnmatchcase(str(row), pattern)]
    if not chosen:
        message = f"no row of versions.yaml matches {pattern!r}"
        raise NothingSelected(message, hint=_nearest_rows(pattern, map(str, rows)))
    return chosen


def select_all(patterns: Iterable[str], known: Iterable[BuildId]) -> list[BuildId]:
    """Return the rows that any of the patterns selects, each once; every pattern must select one."""
    rows = list(known)
    return list(dict.fromkeys(row for pattern in patterns for row in select(pattern, rows)))


def leave_out(patterns: Iterable[str], rows: Sequence[BuildId]) -> tuple[list[BuildId], list[str]]:
    """Return the rows that no pattern matches, and the patterns that match none of them."""
    matched = {p: [row for row in rows if fnmatch.fnmatchcase(str(row), p)] for p in patterns}
    gone = {row for found in matched.values() for row in found}
    return [row for row in rows if row not in gone], [p for p, found in matched.items() if not found]


def parse_row(name: str, known: Iterable[BuildId]) -> BuildId:
    """Return the row that ``name`` spells, which need not be a known one; raise UsageError otherwise."""
    release, _, rest = name.partition("-")
    variant, _, source = rest.partition("-")
    if _RELEASE.fullmatch(release) and variant in VARIANTS and source in SOURCES:
        return BuildId(release, variant, source)
    return find_row(name, known)


def find_row(name: str, known: Iterable[BuildId]) -> BuildId:
    """Return the row of exactly this id; raise UsageError with the nearest one otherwise."""
    rows = {str(row): row for row in known}
    if name not in rows:
        message = f"{name!r} is not a row of versions.yaml"
        raise UsageError(message, hint=_nearest_rows(name, rows))
    return rows[name]
