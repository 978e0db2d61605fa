"""What the schema alone cannot see: dangling names, and pins that do not fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tritonbuild.identifiers import SOURCES, VARIANTS, did_you_mean
from tritonbuild.matrix import Matrix
from tritonbuild.schema import Cell, CellDefaults, Image, ReleaseFacts, Server

Location = tuple[str | int, ...]
Problem = tuple[Location, str]

# What a server of each source is made from. Of these keys it has all, and no other.
_ORIGINS = {
    "pypi": ("triton", "requirement", "sha256"),
    "ngc": ("ref",),
    "source": ("organization", "tag"),
}


def find_contradictions(matrix: Matrix) -> list[Problem]:
    """Return place and reason of each."""
    return [
        *_find_in_defaults(matrix),
        *_find_in_images(matrix),
        *_find_in_servers(matrix),
        *(problem for release in matrix.releases for problem in _find_in_release(matrix, release)),
    ]


def _find_in_defaults(matrix: Matrix) -> Iterator[Problem]:
    for kind in VARIANTS:
        if kind not in matrix.defaults.size_budget_mb:
            yield ("defaults", "size_budget_mb"), f"no budget for {kind} images"
    if matrix.defaults.release not in matrix.releases:
        yield ("defaults", "release"), f"release {matrix.defaults.release!r} has no row"
    for key, common in matrix.defaults.images.items():
        yield from _find_dangling(matrix, common, ("defaults", "images", key))


def _find_in_images(matrix: Matrix) -> Iterator[Problem]:
    images: list[tuple[Location, Image]] = [
        *((("bases", name), base) for name, base in matrix.bases.items()),
        *((("servers", name), server) for name, server in matrix.servers.items()),
    ]
    for name, base in matrix.bases.items():
        if bool(base.client) != base.provides_vllm:
            reason = "a base that provides vLLM needs `client`, and no other base has it"
            yield ("bases", name, *(["client"] if base.client else [])), reason
    for where, image in images:
        is_template = bool(image.ref) and "{" in str(image.ref)
        if is_template and image.digest:
            yield (*where, "digest"), "one digest cannot fit the images of all releases; write `digests`"
        if image.digests and not is_template:
            yield (*where, "digests"), "`ref` has no placeholder, so there is one image; write `digest`"
        for release in image.digests:
            if release not in matrix.releases:
                yield (
                    (*where, "digests", release),
                    f"there is no such release; {did_you_mean(release, matrix.releases)}",
                )


def _find_in_servers(matrix: Matrix) -> Iterator[Problem]:
    for name, server in matrix.servers.items():
        wanted = _ORIGINS[server.source]
        for field in wanted:
            if getattr(server, field) is None:
                yield ("servers", name), f"a {server.source} server needs {field!r}"
        for field in {key for keys in _ORIGINS.values() for key in keys} - {*wanted, "triton"}:
            if getattr(server, field) is not None:
                yield ("servers", name, field), f"a {server.source} server has no {field!r}"


def _find_dangling(
    matrix: Matrix, cell: Cell | CellDefaults, where: Location, common: CellDefaults | None = None
) -> Iterator[Problem]:
    tables: dict[str, Mapping[str, object]] = {
        "base": matrix.bases,
        "server": matrix.servers,
        "engine": matrix.engines,
        "model": matrix.models,
    }
    for field, table in tables.items():
        value = getattr(cell, field)
        # What a default says wrong is reported there, not once more for each release.
        if value is None or value in table or value == getattr(common, field, None):
            continue
        if isinstance(cell, Cell) or "{" not in value:
            yield (*where, field), f"{value!r} is not defined; {did_you_mean(value, table)}"


def _find_in_release(matrix: Matrix, release: str) -> Iterator[Problem]:
    facts = matrix.releases[release]
    for key, cell in facts.images.items():
        here: Location = ("releases", release, "images", key)
        variant, _, source = key.partition("-")
        if variant not in VARIANTS or source not in SOURCES:
            yield here, f"{key!r} is not <variant>-<source>, such as cpu-pypi"
            continue
        yield from _find_dangling(matrix, cell, here, matrix.defaults.images.get(key))
        yield from _find_in_server_of(matrix, cell, facts, source, here)
        yield from _find_in_engine_of(matrix, cell, facts, variant, here)


def _find_in_server_of(
    matrix: Matrix, cell: Cell, facts: ReleaseFacts, source: str, here: Location
) -> Iterator[Problem]:
    server = matrix.servers.get(cell.server)
    if server is None:
        return
    if server.triton not in (None, facts.triton):
        yield (*here, "server"), f"{cell.server} is Triton {server.triton}, the release is {facts.triton}"
    if server.source != source:
        yield (*here, "server"), f"{cell.server} comes from {server.source!r}, the row says {source!r}"
    if server.source == "source":
        if facts.commits is None:
            yield (*here, "server"), f"{cell.server} is compiled, but the release has no `commits`"
        yield from _find_in_toolchain(matrix, cell, server, here)


def _find_in_toolchain(matrix: Matrix, cell: Cell, server: Server, here: Location) -> Iterator[Problem]:
    tools, release = matrix.toolchain, str(here[1])
    base = matrix.bases.get(cell.base)
    if tools.cmake_of(release) is None:
        yield (*here, "server"), f"{cell.server} is compiled, but `toolchain` has no cmake for {release}"
    if "gpu-metrics" in server.features.options and tools.dcgm_of(release) is None:
        yield (*here, "server"), f"{cell.server} measures GPUs, but `toolchain` has no dcgm for {release}"
    if base and base.glibc not in tools.boost:
        yield (*here, "base"), f"{cell.base} has glibc {base.glibc}, for which `toolchain` has no boost"


def _find_in_engine_of(
    matrix: Matrix, cell: Cell, facts: ReleaseFacts, variant: str, here: Location
) -> Iterator[Problem]:
    base = matrix.bases.get(cell.base)
    engine = matrix.engines.get(cell.engine) if cell.engine else None
    if engine and (engine.cuda is not None) != (variant == "cuda"):
        yield (*here, "engine"), f"{cell.engine} is not built for {variant}"
    if base is None:
        return
    if not base.provides_vllm:
        if cell.engine is None:
            yield here, f"it has no engine, and its base {cell.base} provides none"
    elif cell.engine is not None:
        yield (*here, "engine"), f"its base {cell.base} provides vLLM; write `engine: null`"
    elif facts.vllm.ngc is None:
        yield here, f"vLLM is that of {cell.base}, but the release has no `vllm.ngc` to compare it with"
    elif variant != "cuda":
        yield (*here, "base"), f"{cell.base} is not built for {variant}"
