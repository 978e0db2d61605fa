"""Where the sources of a server come from and how many jobs compile them; neither changes the result."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tritonbuild.errors import UsageError
from tritonbuild.spec import BuildSpec

GITHUB = "https://github.com"
# The folder of the build context, and where the build steps see it.
FOLDER = "sources"
_MOUNTED = f"file:///run/{FOLDER}"
_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.:_~/-]*[A-Za-z0-9]")


def check_url(flag: str, value: str) -> str:
    """Return ``value`` when it is a plain URL; raise UsageError otherwise. A password belongs elsewhere."""
    if not _URL.fullmatch(value):
        message = f"{flag}: {value!r} is not a URL"
        raise UsageError(message, hint="such as https://git.example/mirror; passwords are read from ~/.netrc")
    return value


@dataclass(frozen=True, kw_only=True)
class Compiling:
    """How to compile: what stands in for GitHub, and the number of jobs.

    At most one of ``mirror_url`` and ``mirror_folder`` is given. Either holds bare repositories as
    ``ORGANIZATION/REPOSITORY.git``; a folder also holds archives, by their file names.
    """

    mirror_url: str | None = None
    mirror_folder: Path | None = None
    jobs: int | None = None

    def arguments(self, spec: BuildSpec) -> dict[str, str]:
        """Return the build arguments that the Dockerfile of ``spec`` takes."""
        if spec.plan is None:
            return {}
        mirror = _MOUNTED if self.mirror_folder else self.mirror_url
        arguments = {"SOURCE_MIRROR": mirror} if mirror else {}
        return arguments | ({"BUILD_PARALLEL": str(self.jobs)} if self.jobs else {})


def choose_mirror(value: str | None, jobs: int | None) -> Compiling:
    """Return how to compile, with the URL or folder of ``--source-mirror``."""
    if value is None:
        return Compiling(jobs=jobs)
    if "://" in value:
        return Compiling(mirror_url=check_url("--source-mirror", value), jobs=jobs)
    folder = Path(value)
    if not folder.is_dir():
        message = f"--source-mirror: {value} is neither a URL nor a folder"
        raise UsageError(message, hint="name a folder that holds ORGANIZATION/REPOSITORY.git, or https://...")
    return Compiling(mirror_folder=folder, jobs=jobs)
