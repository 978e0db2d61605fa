"""Feature flags of upstream's build.py, checked against what a prebuilt server really has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tritonbuild.errors import UnsupportedFeature, UsageError
from tritonbuild.identifiers import did_you_mean
from tritonbuild.schema import Server
from tritonbuild.spec import BuildSpec

ENDPOINTS = ("grpc", "http", "sagemaker", "vertex-ai")
FILESYSTEMS = ("azure_storage", "gcs", "s3")
BACKENDS = ("ensemble", "python", "vllm")
# Those that upstream's build.py knows besides.
_OTHER_BACKENDS = frozenset(
    [
        "armnn_tflite",
        "dali",
        "fil",
        "identity",
        "onnxruntime",
        "openvino",
        "pytorch",
        "repeat",
        "square",
        "tensorflow",
        "tensorflow1",
        "tensorflow2",
        "tensorrt",
        "tensorrtllm",
    ]
)
# What cannot be compiled without CUDA's headers and libraries.
NEED_CUDA = frozenset(["gpu", "gpu-metrics", "nvtx"])
OPTIONS = ("cpu-metrics", "gpu", "gpu-metrics", "logging", "metrics", "nvtx", "stats", "tracing")


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """What the command line asked the server to have; empty means: as it comes."""

    endpoints: tuple[str, ...] = ()
    filesystems: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    options: frozenset[str] = field(default_factory=frozenset)


def check_spelling(request: FeatureRequest) -> None:
    """Raise UsageError when a value of a flag is none that Triton knows."""
    backends = [backend.partition(":")[0] for backend in request.backends]
    for backend in backends:
        if backend in _OTHER_BACKENDS:
            message = f"--backend: the images hold python and vllm, not {backend!r}"
            raise UnsupportedFeature(message, hint="leave it out; a Dockerfile FROM the image can add it")
    for flag, values, known in (
        ("--endpoint", request.endpoints, ENDPOINTS),
        ("--filesystem", request.filesystems, FILESYSTEMS),
        ("--backend", backends, BACKENDS),
    ):
        for value in values:
            if value not in known:
                message = f"{flag}: unknown value {value!r}"
                raise UsageError(message, hint=did_you_mean(value, known))
    if "gpu-metrics" in request.options and "gpu" not in request.options:
        message = "--enable-gpu-metrics needs --enable-gpu: a cpu image has no GPU to measure"
        raise UsageError(message, hint="add --enable-gpu, or leave out --enable-gpu-metrics")
    for option in ("gpu-metrics", "cpu-metrics"):
        if option in request.options and "metrics" not in request.options:
            message = f"--enable-{option} needs --enable-metrics"
            raise UsageError(message, hint="add --enable-metrics")


def _find_missing(request: FeatureRequest, server: Server) -> Iterable[str]:
    """Yield the flags that ``server`` cannot honour."""
    for value in request.endpoints:
        if value not in server.features.endpoints:
            yield f"--endpoint={value}"
    for value in request.filesystems:
        if value not in server.features.filesystems:
            yield f"--filesystem={value}"
    for option in sorted(request.options):
        if option not in server.features.options:
            yield f"--enable-{option}"


def _where_to_get(request: FeatureRequest, spec: BuildSpec, others: Iterable[BuildSpec]) -> str:
    """Return a hint that names the server sources of the same release and variant that can."""
    kind = (spec.row.release, spec.row.variant)
    able = sorted(
        other.row.source
        for other in others
        if (other.row.release, other.row.variant) == kind
        and (_can_be_compiled(request, other) or not list(_find_missing(request, other.server)))
    )
    if able:
        return f"leave the flag out, or take a server that has it: --server-source={' or '.join(able)}"
    return (
        f"leave the flag out: no {spec.row.variant} server of {spec.row.release} in versions.yaml can have it"
    )


def _can_be_compiled(request: FeatureRequest, spec: BuildSpec) -> bool:
    """Whether a row is compiled, and could be with all that is asked for."""
    return spec.plan is not None and (spec.is_cuda or not request.options & NEED_CUDA)


def check_features(request: FeatureRequest, spec: BuildSpec, others: Iterable[BuildSpec] = ()) -> list[str]:
    """Raise when the row's server lacks what was asked; return remarks on what it has beyond that.

    ``others`` are the rows among which the error looks for a server that has it.
    A prebuilt server cannot leave a feature out, so asking for less than it has is allowed.
    """
    missing = list(_find_missing(request, spec.server))
    if missing:
        message = f"{spec.row}: the prebuilt server has no {', '.join(missing)}"
        raise UnsupportedFeature(message, hint=_where_to_get(request, spec, others))
    branch = f"r{spec.row.release}"
    for backend in request.backends:
        name, colon, tag = backend.partition(":")
        if colon and tag != branch:
            message = f"--backend: {spec.row} holds {name} of {branch}, not of {tag!r}"
            raise UnsupportedFeature(
                message,
                hint=f"write --backend={name}:{branch}, or compile the server: --server-source source",
            )
    remarks = []
    for what, asked, offered in (
        ("endpoints", request.endpoints, spec.server.features.endpoints),
        ("file systems", request.filesystems, spec.server.features.filesystems),
    ):
        extra = sorted({*offered} - {*asked})
        if asked and extra:
            remarks.append(f"the prebuilt server also has the {what} {', '.join(extra)}")
    return remarks
