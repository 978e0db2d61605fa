"""What servers are compiled with, as versions.yaml holds it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tritonbuild.shapes import DebName, Entry, Evidence, Glibc, HttpsUrl, Name, Pinned, Release, Sha256


class Archive(Entry):
    """A file of the network that a build unpacks."""

    url: Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9][A-Za-z0-9./_-]*\.tar\.gz$")]
    sha256: Sha256

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[1]


class CMake(Entry):
    """The wheel of CMake that servers are compiled with, from a release on."""

    since: Release
    requirement: Pinned
    sha256: Sha256


class Dcgm(Entry):
    """NVIDIA's library behind the metrics of GPUs, from a release on."""

    since: Release
    version: Annotated[str, StringConstraints(pattern=r"^[0-9][0-9A-Za-z.:+~-]*$")]
    packages: tuple[DebName, ...]
    # An apt repository, the file of its key, and the fingerprint that this key has to have.
    repository: HttpsUrl
    key: Name
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")]


class Toolchain(Entry):
    """What servers are compiled with; nothing of it is in an image."""

    packages: tuple[DebName, ...] = ()
    # Boost's headers by the glibc of the base: a Debian package, or an archive where that is too old.
    boost: dict[Glibc, DebName | Archive] = Field(default_factory=dict)
    cmake: tuple[CMake, ...] = ()
    dcgm: tuple[Dcgm, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    def cmake_of(self, release: str) -> CMake | None:
        return next((tool for tool in reversed(self.cmake) if tool.since <= release), None)

    def dcgm_of(self, release: str) -> Dcgm | None:
        return next((tool for tool in reversed(self.dcgm) if tool.since <= release), None)
