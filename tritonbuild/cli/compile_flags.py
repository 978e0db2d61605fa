"""The flags of ``build`` that say how a server is compiled; none has a meaning for a prebuilt one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import replace

from tritonbuild.cli.values import one_of
from tritonbuild.compileplan import CompileRequest
from tritonbuild.compiling import BUILD_TYPES, CACHES, REPO_TAGS, REPOAGENTS
from tritonbuild.errors import NothingSelected, UnsupportedFeature, UsageError
from tritonbuild.features import BACKENDS, ENDPOINTS, FILESYSTEMS, NEED_CUDA, OPTIONS
from tritonbuild.identifiers import did_you_mean
from tritonbuild.sources import GITHUB, check_url
from tritonbuild.spec import BuildSpec, compile_as_asked, usual_request

# All of it stands in double quotes in a Dockerfile: nothing may end the quotes or begin a substitution.
_TAG = re.compile(r"(?!.*(\.\.|//|/$|\.lock(/|$)))[A-Za-z0-9][A-Za-z0-9._/-]*")
_DEFINITION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*(:(BOOL|STRING|PATH|FILEPATH))?")
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")
_VALUE = re.compile(r"[A-Za-z0-9 _./:;,+=@%~^<>()\[\]{}*?!#&|-]*")


def add_compile_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how a server from source is compiled (--server-source source)")

    def repeat(flag: str, metavar: str, text: str) -> None:
        group.add_argument(flag, action="append", default=[], metavar=metavar, help=f"{text} (repeat)")

    repeat("--repo-tag", "NAME:TAG", "branch, tag or commit of common, core, backend or thirdparty")
    repeat("--cache", "NAME[:TAG]", "compile a response cache: local, redis")
    repeat("--repoagent", "NAME[:TAG]", "compile a repository agent: checksum")
    repeat("--extra-core-cmake-arg", "NAME=VALUE", "one more definition for the server")
    repeat("--override-core-cmake-arg", "NAME=VALUE", "another value of a definition of the server")
    repeat("--extra-backend-cmake-arg", "BACKEND:NAME=VALUE", "one more definition for a backend")
    repeat("--override-backend-cmake-arg", "BACKEND:NAME=VALUE", "another value of a definition of a backend")
    group.add_argument(
        "--build-type",
        type=one_of("--build-type", BUILD_TYPES),
        metavar="TYPE",
        help=f"{', '.join(BUILD_TYPES)} (default: Release)",
    )
    group.add_argument(
        "--min-compute-capability",
        type=_capability,
        metavar="N.N",
        help="oldest GPU to compile for (default: 6.0)",
    )
    group.add_argument(
        "--github-organization",
        type=lambda value: check_url("--github-organization", value),
        metavar="URL",
        help="where the component repositories lie",
    )
    group.add_argument(
        "--source-mirror", metavar="URL|FOLDER", help=f"what stands in for {GITHUB}, whoever asks for it"
    )


# The flags above, as options have them.
_OWN = (
    "repo_tag",
    "cache",
    "repoagent",
    "extra_core_cmake_arg",
    "override_core_cmake_arg",
    "extra_backend_cmake_arg",
    "override_backend_cmake_arg",
    "build_type",
    "min_compute_capability",
    "github_organization",
    "source_mirror",
)


def _capability(value: str) -> str:
    if not _CAPABILITY.fullmatch(value):
        message = f"--min-compute-capability: {value!r} is not a compute capability"
        raise UsageError(message, hint="such as 7.5")
    return value


def refuse_compile_flags(options: argparse.Namespace, spec: BuildSpec) -> None:
    """Raise UnsupportedFeature when a flag says how to compile a server that comes compiled."""
    given = [f"--{name.replace('_', '-')}" for name in _OWN if getattr(options, name)]
    if given:
        message = f"{spec.row}: its server is not compiled, so {', '.join(given)} cannot be honoured"
        raise UnsupportedFeature(message, hint="add --server-source source, or leave it out")


def compile_by_flags(options: argparse.Namespace, spec: BuildSpec) -> BuildSpec:
    """Return ``spec``, a row that is compiled, with its server as the flags ask.

    Flags that name features leave out what they do not name, as in upstream's build.py. Without any the
    server has what upstream's images have; --enable-gpu and --backend alone name no feature.
    """
    request = compile_request(options)
    options_ = set(request.options) - {"gpu"}
    if options_ or request.endpoints or request.filesystems:
        request = replace(request, options=request.options | ({"gpu"} if spec.is_cuda else set()))
    else:
        usual = usual_request(spec)
        request = replace(
            request,
            options=usual.options,
            endpoints=usual.endpoints,
            filesystems=usual.filesystems,
            backends={**usual.backends, **request.backends},
            caches={**usual.caches, **request.caches},
            repoagents={**usual.repoagents, **request.repoagents},
            tensorrt=usual.tensorrt,
        )
    for option in ("metrics", "tracing"):
        if option in request.options and "stats" not in request.options:
            message = f"--enable-{option} needs --enable-stats: a server cannot be compiled without"
            raise UsageError(message, hint="add --enable-stats")
    impossible = sorted(request.options & NEED_CUDA) if not spec.is_cuda else []
    if impossible:
        message = f"{spec.row}: --enable-{impossible[0]} cannot be compiled without CUDA"
        raise UnsupportedFeature(message, hint="add --enable-gpu, or leave it out")
    organization = options.github_organization
    if organization and options.source_mirror and not organization.startswith(f"{GITHUB}/"):
        message = f"--source-mirror stands in for {GITHUB}, but the sources are asked from {organization}"
        raise UsageError(message, hint="give one of --source-mirror and --github-organization")
    compiled = compile_as_asked(spec, request, organization=organization)
    loose = [f"{s.repository} at {s.tag}" for s in compiled.sources if s.commit is None]
    if loose and not options.allow_unverified:
        message = f"{spec.row}: versions.yaml has no commit for {', '.join(loose)}"
        raise NothingSelected(
            message, hint="name a commit of 40 digits instead of the tag, or add --allow-unverified"
        )
    return compiled


def compile_remarks(spec: BuildSpec) -> list[str]:
    """Return what a user may not expect of a server compiled by flags."""
    features = spec.server.features
    remarks = [
        f"{source.repository} is taken as {source.tag} is on that day: versions.yaml has no commit of it"
        for source in spec.sources
        if source.commit is None
    ]
    if "http" not in features.endpoints:
        remarks.append("without --endpoint=http the health check and the smoke tests of the image fail")
    elif "grpc" not in features.endpoints:
        remarks.append("without --endpoint=grpc smoke tests of the image fail")
    return remarks


def compile_request(options: argparse.Namespace) -> CompileRequest:
    """Return what the flags ask the compiled server to have; raise UsageError on a malformed one."""
    everything = options.enable_all
    asked = {name for name in OPTIONS if getattr(options, f"enable_{name.replace('-', '_')}")}
    backends = _tagged(
        "--backend", options.backend, BACKENDS, all_of=("ensemble", "python") if everything else ()
    )
    return CompileRequest(
        options=frozenset(OPTIONS if everything else asked),
        endpoints=frozenset(ENDPOINTS if everything else options.endpoint),
        filesystems=frozenset(FILESYSTEMS if everything else options.filesystem),
        backends=backends,
        caches=_tagged("--cache", options.cache, CACHES, all_of=CACHES if everything else ()),
        repoagents=_tagged(
            "--repoagent", options.repoagent, REPOAGENTS, all_of=REPOAGENTS if everything else ()
        ),
        repo_tags=_repo_tags(options.repo_tag),
        tensorrt=everything,
        build_type=options.build_type or "Release",
        min_compute_capability=options.min_compute_capability or "6.0",
        extra_core=_definitions("--extra-core-cmake-arg", options.extra_core_cmake_arg),
        override_core=_definitions("--override-core-cmake-arg", options.override_core_cmake_arg),
        extra_backend=_of_backends("--extra-backend-cmake-arg", options.extra_backend_cmake_arg),
        override_backend=_of_backends("--override-backend-cmake-arg", options.override_backend_cmake_arg),
    )


def _check_tag(flag: str, tag: str) -> str:
    if not _TAG.fullmatch(tag):
        message = f"{flag}: {tag!r} is not a branch, tag or commit"
        raise UsageError(message, hint="such as r24.08, or a commit of 40 digits")
    return tag


def _tagged(
    flag: str, values: Iterable[str], known: Iterable[str], *, all_of: Iterable[str]
) -> dict[str, str | None]:
    """Return name -> tag of ``NAME[:TAG]``, and those of ``all_of`` that were not named."""
    found: dict[str, str | None] = {}
    for value in values:
        name, colon, tag = value.partition(":")
        if name not in known:
            message = f"{flag}: unknown value {name!r}"
            raise UsageError(message, hint=did_you_mean(name, known))
        found[name] = _check_tag(flag, tag) if colon else None
    return {**found, **{name: None for name in all_of if name not in found}}


def _repo_tags(values: Iterable[str]) -> dict[str, str]:
    found = {}
    for value in values:
        name, colon, tag = value.partition(":")
        if not colon:
            message = f"--repo-tag: {value!r} is not NAME:TAG"
            raise UsageError(message, hint="such as --repo-tag core:r24.08")
        if name not in REPO_TAGS:
            message = f"--repo-tag: unknown component {name!r}"
            raise UsageError(message, hint=did_you_mean(name, REPO_TAGS))
        found[name] = _check_tag("--repo-tag", tag)
    return found


def _definitions(flag: str, values: Iterable[str], form: str = "NAME=VALUE") -> dict[str, str]:
    found = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not _DEFINITION.fullmatch(name) or not _VALUE.fullmatch(value):
            message = f"{flag}: {text!r} is not {form}"
            raise UsageError(
                message, hint="such as CMAKE_CXX_STANDARD=20; no quotes, dollar signs or backslashes"
            )
        found[name] = value
    return found


def _of_backends(flag: str, values: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return backend -> definitions of ``BACKEND:NAME=VALUE``."""
    found: dict[str, dict[str, str]] = {}
    for text in values:
        backend, colon, definition = text.partition(":")
        if not colon:
            message = f"{flag}: {text!r} is not BACKEND:NAME=VALUE"
            raise UsageError(message, hint="such as python:TRITON_ENABLE_STATS=OFF")
        if backend != "python":
            message = f"{flag}: no backend {backend!r} is compiled"
            raise UsageError(message, hint="the Python backend is: python:NAME=VALUE")
        found.setdefault(backend, {}).update(_definitions(flag, [definition], "BACKEND:NAME=VALUE"))
    return found
