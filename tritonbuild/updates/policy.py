"""What looking for newer pins can find, and what a policy, one for each family of pins, must offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tritonbuild.yamledit import Edit, Rename


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Something newer than what versions.yaml pins.

    ``edits`` are what a program may write; without any, ``remedy`` says what a person has to find out.
    """

    family: str
    subject: str
    current: str
    latest: str
    remedy: str
    edits: tuple[Edit | Rename, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A question that nobody answered: nothing is known about what is newer."""

    family: str
    subject: str
    reason: str


class Policy(Protocol):
    """Looks for newer pins of one family."""

    @property
    def family(self) -> str:
        """The name of the family, as people see it."""

    def find(self) -> Iterator[Proposal | Unanswered | None]:
        """Yield what was found, None for each question whose answer was that all is as pinned."""
