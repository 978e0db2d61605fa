"""Names of distributions: lists of patterns, and which of them a name matches. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

FOLDER = Path(__file__).parent


def canonical(name: str) -> str:
    """Return the name as the package index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_patterns(name: str) -> list[str]:
    """Return the patterns of a list that lies beside this file."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a distribution is on a list."""
    return any(fnmatchcase(canonical(name), pattern) for pattern in patterns)
