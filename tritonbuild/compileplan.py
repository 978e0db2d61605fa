"""A server from source as data: what is asked for, and what is fetched and compiled for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Where the build stage compiles. In no image: the stage is thrown away.
FOLDER = "/run/compile"

Kind = Literal["server", "backends", "caches", "repoagents"]


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What the server shall have, each name as the flag of build.py has it.

    ``backends``, ``caches`` and ``repoagents`` map a name to a tag, or to None for the release's own.
    Overrides and extras map the name of a definition to its value; those of backends by backend.
    """

    options: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()
    filesystems: frozenset[str] = frozenset()
    backends: Mapping[str, str | None] = field(default_factory=dict)
    caches: Mapping[str, str | None] = field(default_factory=dict)
    repoagents: Mapping[str, str | None] = field(default_factory=dict)
    repo_tags: Mapping[str, str] = field(default_factory=dict)
    # --enable-all of build.py also asks for the TensorRT backend, which the core is told of.
    tensorrt: bool = False
    build_type: str = "Release"
    min_compute_capability: str = "6.0"
    extra_core: Mapping[str, str] = field(default_factory=dict)
    override_core: Mapping[str, str] = field(default_factory=dict)
    extra_backend: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    override_backend: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """``-DNAME:TYPE=VALUE``; the type may be missing."""

    name: str
    value: str
    type: str | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.type}={self.value}" if self.type else f"{self.name}={self.value}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One CMake project: the server itself, a backend, a cache or a repository agent."""

    kind: Kind
    name: str
    repository: str
    tag: str
    definitions: tuple[Definition, ...]

    @property
    def build_type(self) -> str:
        return self.value("CMAKE_BUILD_TYPE")

    def value(self, name: str) -> str:
        """Return what a definition is set to."""
        return next(d.value for d in self.definitions if d.name == name)

    def has(self, name: str) -> bool:
        """Tell whether a switch is on."""
        return self.value(name).upper() in ("ON", "1", "TRUE", "YES", "Y")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository at a tag; ``commit`` is None where nothing but the tag says what it is."""

    repository: str
    tag: str
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class CompilePlan:
    """Everything that is compiled, in order; the server comes first."""

    organization: str
    parts: tuple[Part, ...]
    # Repository -> tag of everything that is fetched.
    tags: Mapping[str, str]

    @property
    def server(self) -> Part:
        return self.parts[0]

    @property
    def folder(self) -> str:
        """Where everything is compiled, each part in a folder of its name."""
        return FOLDER
