"""What all entries of versions.yaml are made of: narrow strings, evidence, reasons."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# Whatever is written here can end up in a Dockerfile, so every string has a narrow shape.
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][0-9A-Za-z.+]*$")]
Release = Annotated[str, StringConstraints(pattern=r"^2\d\.(0[1-9]|1[0-2])$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
# A tag may hold a placeholder, which the row fills in.
ImageRef = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./_-]*(:([A-Za-z0-9._-]|\{(release|upstream)\})+)?$")
]
GitTag = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]|\{release\})([A-Za-z0-9._-]|\{release\})*$")
]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9][A-Za-z0-9./_-]*$")]
Glibc = Annotated[str, StringConstraints(pattern=r"^2\.\d\d$")]
DebName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Requirement = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,_-]+\])?([<>=!~]=?[0-9A-Za-z.+*]+)?$"),
]
Pinned = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9A-Za-z.+]+$")]
# Neither can leave the folder it starts in: no part is empty, "." or "..".
PathPattern = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_*-]*([./][A-Za-z0-9_*-]+)*$")
]
RelativePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$")]
Licence = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+ ()-]*$")]


class Entry(BaseModel):
    """What all entries have in common: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(Entry):
    """Where a pin comes from and what that source says."""

    source: str
    value: str


class Conflict(Entry):
    """Two sources disagree; what was chosen and why."""

    about: str
    values: tuple[str, ...]
    chosen: str
    reason: str


class Reasoned(Entry):
    """A deviation from what the resolver would do by itself."""

    reason: str = Field(min_length=10)
