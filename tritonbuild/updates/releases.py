"""New releases of Triton, and branches of its sources that moved since their commits were pinned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tritonbuild.errors import CommandFailed, ToolMissing, Unreachable
from tritonbuild.matrix import Matrix
from tritonbuild.process import find_tool, run
from tritonbuild.schema import Commits
from tritonbuild.updates.policy import Proposal, Unanswered
from tritonbuild.yamledit import Edit

_BRANCH = re.compile(r"(?P<commit>[0-9a-f]{40})\trefs/heads/r(?P<release>2\d\.(0[1-9]|1[0-2]))")


def list_release_branches(url: str) -> dict[str, str]:
    """Return the commit of each branch rYY.MM of a repository by its release; raise Unreachable."""
    git = find_tool("git", hint="install git")
    # Without these it would wait: for a password, or for a server that sends nothing.
    env = {"GIT_TERMINAL_PROMPT": "0", "GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "20"}
    try:
        output = run([git, "ls-remote", "--heads", url, "r2?.??"], env=env, what="git ls-remote")
    except CommandFailed as error:
        # What git says after that line is advice.
        reasons = [line for line in error.tail if line.startswith("fatal:")] or [error.message]
        message = f"{url} gave no answer: {reasons[0].removeprefix('fatal: ')}"
        raise Unreachable(message, hint="check network, proxy and certificates") from error
    return {
        match["release"]: match["commit"] for match in map(_BRANCH.fullmatch, output.splitlines()) if match
    }


@dataclass(frozen=True, kw_only=True)
class TritonReleases:
    """Releases after the newest one here, and branches that are not where they were."""

    matrix: Matrix
    list_branches: Callable[[str], Mapping[str, str]] = list_release_branches
    family: str = "Triton releases"

    def find(self) -> Iterator[Proposal | Unanswered | None]:
        organizations = {server.organization for server in self.matrix.servers.values()} - {None}
        for organization in sorted(filter(None, organizations)):
            for repository in Commits.model_fields:
                url = f"{organization}/{repository}.git"
                try:
                    branches = self.list_branches(url)
                except (Unreachable, ToolMissing) as error:
                    yield Unanswered(family=self.family, subject=repository, reason=error.message)
                    continue
                if repository == "server":
                    yield from self._new(branches)
                yield from self._moved(repository, branches)

    def _new(self, branches: Mapping[str, str]) -> Iterator[Proposal | None]:
        newest = max(self.matrix.releases)
        for release in sorted(release for release in branches if release > newest):
            yield Proposal(
                family=self.family,
                subject=f"releases.{release}",
                current=newest,
                latest=release,
                remedy="read its pins and add it (docs/versions.md, Adding a release)",
            )

    def _moved(self, repository: str, branches: Mapping[str, str]) -> Iterator[Proposal | None]:
        for release, facts in self.matrix.releases.items():
            pinned = getattr(facts.commits, repository, None)
            if pinned is None or release not in branches or branches[release] == pinned:
                yield None
                continue
            yield Proposal(
                family=self.family,
                subject=f"releases.{release}.commits.{repository}",
                current=pinned[:12],
                latest=branches[release][:12],
                remedy="read what upstream changed after the release before taking it",
                edits=(Edit(path=("releases", release, "commits", repository), value=branches[release]),),
            )
