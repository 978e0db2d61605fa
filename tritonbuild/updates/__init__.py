"""Looking for newer pins: every policy is asked, and what was found becomes one change of versions.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from tritonbuild.console import Step
from tritonbuild.errors import Unreachable
from tritonbuild.updates.policy import Policy, Proposal, Unanswered
from tritonbuild.yamledit import apply_edits


@dataclass(frozen=True, kw_only=True)
class Updates:
    """What is newer, and what could not be asked."""

    proposals: tuple[Proposal, ...]
    unanswered: tuple[Unanswered, ...]

    def edited(self, text: str) -> str:
        """Return versions.yaml, given as text, with everything in it that a program may write."""
        return apply_edits(text, (edit for proposal in self.proposals for edit in proposal.edits))


def find_updates(policies: Iterable[Policy], step: Step) -> Updates:
    """Ask every policy; raise Unreachable when not one question was answered."""
    proposals: list[Proposal] = []
    unanswered: list[Unanswered] = []
    answers = 0
    for policy in policies:
        step.note(policy.family)
        for found in policy.find():
            if isinstance(found, Unanswered):
                unanswered.append(found)
                step.note(f"{found.subject}: {found.reason}")
                continue
            answers += 1
            if found:
                proposals.append(found)
    if unanswered and not answers:
        message = "nobody answered: " + "; ".join(dict.fromkeys(found.reason for found in unanswered))
        raise Unreachable(message, hint="check network, proxy and certificates")
    return Updates(proposals=tuple(proposals), unanswered=tuple(unanswered))


def diff_lines(before: str, after: str, name: str) -> list[str]:
    """Return the change of a file as a unified diff."""
    return list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm="", n=1
        )
    )
