"""What upstream's build.py would hand to CMake for the same flags: the plan of a server from source."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tritonbuild.compileplan import FOLDER, CompilePlan, CompileRequest, Definition, Kind, Part, Source
from tritonbuild.errors import UsageError
from tritonbuild.identifiers import did_you_mean
from tritonbuild.schema import Commits, Features

BUILD_TYPES = ("Debug", "MinSizeRel", "RelWithDebInfo", "Release")
# As --repo-tag names them, and the repository that each is. build.py itself lies in the server's.
COMPONENTS = {"common": "common", "core": "core", "backend": "backend", "thirdparty": "third_party"}
REPO_TAGS = ("server", *COMPONENTS)
CACHES = ("local", "redis")
REPOAGENTS = ("checksum",)

# build.py hands the organization on from this release on; before, upstream's is written into the sources.
_ORGANIZATION_SINCE = "24.03"
# build.py hands these on from the environment of the build container, set or not.
_FROM_ENVIRONMENT = ("TRT_VERSION", "CMAKE_TOOLCHAIN_FILE", "VCPKG_TARGET_TRIPLET")

# Option, endpoint or file system -> the switch of the server that is it.
_OPTIONS = {
    "logging": "TRITON_ENABLE_LOGGING",
    "stats": "TRITON_ENABLE_STATS",
    "metrics": "TRITON_ENABLE_METRICS",
    "gpu-metrics": "TRITON_ENABLE_METRICS_GPU",
    "cpu-metrics": "TRITON_ENABLE_METRICS_CPU",
    "tracing": "TRITON_ENABLE_TRACING",
    "nvtx": "TRITON_ENABLE_NVTX",
    "gpu": "TRITON_ENABLE_GPU",
}
_ENDPOINTS = {
    "grpc": "TRITON_ENABLE_GRPC",
    "http": "TRITON_ENABLE_HTTP",
    "sagemaker": "TRITON_ENABLE_SAGEMAKER",
    "vertex-ai": "TRITON_ENABLE_VERTEX_AI",
}
_FILESYSTEMS = {
    "gcs": "TRITON_ENABLE_GCS",
    "s3": "TRITON_ENABLE_S3",
    "azure_storage": "TRITON_ENABLE_AZURE_STORAGE",
}


def default_request(features: Features, commits: Commits, *, is_cuda: bool) -> CompileRequest:
    """Return what upstream's images of a release have of ``features``, caches and repository agents.

    A cache or agent is left out where its commit is not known.
    """
    known = commits.model_dump(exclude_none=True)
    return CompileRequest(
        options=frozenset(features.options),
        endpoints=frozenset(features.endpoints),
        filesystems=frozenset(features.filesystems),
        backends={"ensemble": None, "python": None, "vllm": None},
        caches={name: None for name in CACHES if f"{name}_cache" in known},
        repoagents={name: None for name in REPOAGENTS if f"{name}_repository_agent" in known},
        tensorrt=is_cuda,
    )


def find_sources(plan: CompilePlan, commits: Commits, tag: str) -> tuple[Source, ...]:
    """Return all that is fetched, pinned where the tag is the release's ``tag`` or itself a commit."""
    pinned = commits.model_dump()

    def commit_of(repository: str, own_tag: str) -> str | None:
        if re.fullmatch(r"[0-9a-f]{40}", own_tag):
            return own_tag
        return pinned.get(repository) if own_tag == tag else None

    return tuple(
        Source(repository=name, tag=own_tag, commit=commit_of(name, own_tag))
        for name, own_tag in sorted(plan.tags.items())
    )


def features_of(plan: CompilePlan) -> Features:
    """Return what the binary will have, overrides included."""

    def switched_on(switches: Mapping[str, str]) -> list[str]:
        return sorted(name for name, switch in switches.items() if plan.server.has(switch))

    return Features.model_validate(
        {
            "endpoints": switched_on(_ENDPOINTS),
            "filesystems": switched_on(_FILESYSTEMS),
            "options": switched_on(_OPTIONS),
        }
    )


def plan_compilation(
    request: CompileRequest, *, release: str, triton: str, organization: str, tag: str
) -> CompilePlan:
    """Return the projects with the definitions that build.py of ``release`` passes for the same flags.

    ``tag`` is the branch of the release; ``organization`` the URL that its repositories lie under.
    """
    tags = {name: request.repo_tags.get(name, tag) for name in COMPONENTS}
    organizations = (
        [Definition(name="TRITON_REPO_ORGANIZATION", type="STRING", value=organization)]
        if release >= _ORGANIZATION_SINCE
        else []
    )

    def repository_tags(*components: str) -> list[Definition]:
        return [
            Definition(
                name=f"TRITON_{COMPONENTS[component].upper()}_REPO_TAG", type="STRING", value=tags[component]
            )
            for component in components
        ]

    def head(name: str) -> list[Definition]:
        return [
            *(Definition(name=n, value=f"${{{n}}}") for n in _FROM_ENVIRONMENT),
            Definition(name="CMAKE_BUILD_TYPE", value=request.build_type),
            Definition(name="CMAKE_INSTALL_PREFIX", type="PATH", value=f"{FOLDER}/{name}/install"),
        ]

    server = [
        *head("tritonserver"),
        Definition(name="TRITON_VERSION", type="STRING", value=triton),
        *organizations,
        *repository_tags("common", "core", "backend", "thirdparty"),
        *_server_switches(request),
    ]
    parts = [
        Part(
            kind="server",
            name="tritonserver",
            repository="server",
            tag=request.repo_tags.get("server", tag),
            definitions=_changed(
                server, request.override_core, request.extra_core, "--override-core-cmake-arg"
            ),
        )
    ]
    has_gpu = "gpu" in request.options
    for name, own_tag in _compiled_backends(request.backends).items():
        backend = [
            *head(name),
            *organizations,
            *repository_tags("common", "core", "backend"),
            _switch("TRITON_ENABLE_GPU", has_gpu),
            _switch("TRITON_ENABLE_MALI_GPU", False),
            _switch("TRITON_ENABLE_STATS", "stats" in request.options),
            _switch("TRITON_ENABLE_METRICS", "metrics" in request.options),
            *([_switch("TRITON_ENABLE_MEMORY_TRACKER", True)] if has_gpu else []),
        ]
        parts.append(
            Part(
                kind="backends",
                name=name,
                repository=f"{name}_backend",
                tag=own_tag or tag,
                definitions=_changed(
                    backend,
                    request.override_backend.get(name, {}),
                    request.extra_backend.get(name, {}),
                    "--override-backend-cmake-arg",
                ),
            )
        )
    small: tuple[tuple[Kind, Mapping[str, str | None], str], ...] = (
        ("repoagents", request.repoagents, "repository_agent"),
        ("caches", request.caches, "cache"),
    )
    for kind, wanted, suffix in small:
        for name, own_tag in wanted.items():
            definitions = [
                *head(name),
                *organizations,
                *repository_tags("common", "core"),
                _switch("TRITON_ENABLE_GPU", has_gpu),
            ]
            parts.append(
                Part(
                    kind=kind,
                    name=name,
                    repository=f"{name}_{suffix}",
                    tag=own_tag or tag,
                    definitions=tuple(definitions),
                )
            )
    fetched = {COMPONENTS[component]: value for component, value in tags.items()}
    fetched |= {part.repository: part.tag for part in parts}
    return CompilePlan(organization=organization, parts=tuple(parts), tags=fetched)


def _switch(name: str, is_on: bool) -> Definition:
    return Definition(name=name, type="BOOL", value="ON" if is_on else "OFF")


def _server_switches(request: CompileRequest) -> list[Definition]:
    """Return the switches of the server in the order of build.py."""

    def switches(table: Mapping[str, str], wanted: frozenset[str]) -> list[Definition]:
        return [_switch(switch, name in wanted) for name, switch in table.items()]

    return [
        *switches(_OPTIONS, request.options),
        Definition(name="TRITON_MIN_COMPUTE_CAPABILITY", value=request.min_compute_capability),
        _switch("TRITON_ENABLE_MALI_GPU", False),
        *switches(_ENDPOINTS, request.endpoints),
        *switches(_FILESYSTEMS, request.filesystems),
        _switch("TRITON_ENABLE_ENSEMBLE", "ensemble" in request.backends),
        _switch("TRITON_ENABLE_TENSORRT", request.tensorrt),
    ]


def _compiled_backends(backends: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the backends with a CMake project of their own.

    Ensembles are part of the core. The vLLM backend is Python and ours, and needs the Python
    backend: as build.py has it, with the tag of the vLLM backend where it has none of its own.
    """
    return {"python": backends.get("python", backends.get("vllm"))}


def _changed(
    definitions: list[Definition], overrides: Mapping[str, str], extras: Mapping[str, str], flag: str
) -> tuple[Definition, ...]:
    """Return ``definitions`` with values replaced, and ``extras`` behind them.

    build.py ignores the override of a name that it does not pass; here that is a UsageError.
    """
    known = [d.name for d in definitions if d.name not in (*_FROM_ENVIRONMENT, "CMAKE_INSTALL_PREFIX")]
    for name in overrides:
        if name not in known:
            message = f"{flag}: {name} is not among the definitions that can be overridden"
            raise UsageError(message, hint=did_you_mean(name, known))
    return (
        *(Definition(name=d.name, type=d.type, value=overrides.get(d.name, d.value)) for d in definitions),
        *(Definition(name=name, value=value) for name, value in extras.items()),
    )
