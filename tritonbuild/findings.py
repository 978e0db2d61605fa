"""What an examination finds: how bad it is, what it is about, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a report. Only what is in order needs no remedy."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    message: str
    remedy: str | None = None

    @property
    def line(self) -> str:
        ending = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.level:<8} {self.subject}: {self.message}{ending}"


def fine(subject: str, message: str) -> Finding:
    return Finding(level="ok", subject=subject, message=message)


def warning(subject: str, message: str, remedy: str) -> Finding:
    """Return a finding that does not stop a build, or that a build mends by itself."""
    return Finding(level="warning", subject=subject, message=message, remedy=remedy)


def problem(subject: str, message: str, remedy: str) -> Finding:
    """Return a finding that would make a build, or the use of what it builds, fail."""
    return Finding(level="problem", subject=subject, message=message, remedy=remedy)
