from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tritonbuild.errors import UnsupportedFeature, UsageError
from tritonbuild.features import (
    BACKENDS,
    ENDPOINTS,
    FILESYSTEMS,
    FeatureRequest,
    check_features,
    check_spelling,
)
from tritonbuild.matrix import Matrix
from tritonbuild.schema import Features
from tritonbuild.spec import BuildSpec

SpecOf = Callable[[str], BuildSpec]


def _asks(*options: str) -> FeatureRequest:
    return FeatureRequest(options=frozenset(options))


def _without(spec: BuildSpec, **features: tuple[str, ...]) -> BuildSpec:
    """Return ``spec`` with a server that has other features."""
    changed: Features = spec.server.features.model_copy(update=features)
    return dataclasses.replace(spec, server=spec.server.model_copy(update={"features": changed}))


def test_every_known_value_is_spelled_right() -> None:
    check_spelling(FeatureRequest(endpoints=ENDPOINTS, filesystems=FILESYSTEMS, backends=BACKENDS))
    check_spelling(FeatureRequest(backends=("python:r24.08", "vllm:main")))


def test_no_request_means_the_server_as_it_comes(cpu: BuildSpec) -> None:
    check_spelling(FeatureRequest())
    assert check_features(FeatureRequest(), cpu) == []


@pytest.mark.parametrize("options", [("gpu-metrics", "metrics"), ("cpu-metrics",), ("gpu", "gpu-metrics")])
def test_metrics_of_something_need_metrics_and_the_thing(options: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="needs"):
        check_spelling(_asks(*options))


def test_all_that_a_server_lacks_is_named_in_one_line(cpu: BuildSpec) -> None:
    poor = _without(cpu, endpoints=("http",), filesystems=())
    request = FeatureRequest(
        endpoints=("http", "grpc"), filesystems=("s3",), options=frozenset({"nvtx", "metrics"})
    )
    with pytest.raises(UnsupportedFeature) as failure:
        check_features(request, poor)
    assert failure.value.message.endswith("has no --endpoint=grpc, --filesystem=s3, --enable-nvtx")


def test_the_server_that_has_it_is_named(spec_of: SpecOf, cpu: BuildSpec) -> None:
    cuda, ngc = spec_of("24.08-cuda-pypi"), spec_of("24.08-cuda-ngc")
    with pytest.raises(UnsupportedFeature) as failure:
        check_features(_asks("nvtx"), cuda, [cpu, cuda, ngc])
    assert str(failure.value.hint).endswith("--server-source=ngc")


def test_no_server_is_named_where_none_has_it(spec_of: SpecOf, cpu: BuildSpec) -> None:
    with pytest.raises(UnsupportedFeature) as failure:
        check_features(_asks("nvtx"), cpu, [cpu, spec_of("24.08-cuda-ngc"), spec_of("24.08-cpu-source")])
    assert "--server-source" not in str(failure.value.hint)
    assert "no cpu server of 24.08" in str(failure.value.hint)


def test_a_server_that_is_compiled_can_have_what_a_prebuilt_one_lacks(spec_of: SpecOf) -> None:
    prebuilt = _without(spec_of("24.08-cuda-pypi"), endpoints=("http",))
    with pytest.raises(UnsupportedFeature) as failure:
        check_features(
            FeatureRequest(endpoints=("grpc",)), prebuilt, [prebuilt, spec_of("24.08-cuda-source")]
        )
    assert str(failure.value.hint).endswith("--server-source=source")


def test_a_backend_may_name_its_branch_and_no_other(cpu: BuildSpec) -> None:
    assert check_features(FeatureRequest(backends=("vllm:r24.08", "python")), cpu) == []
    with pytest.raises(UnsupportedFeature) as failure:
        check_features(FeatureRequest(backends=("vllm:r24.10",)), cpu)
    assert "--backend=vllm:r24.08" in str(failure.value.hint)


def test_what_the_server_has_beyond_the_request_is_remarked(cpu: BuildSpec) -> None:
    remarks = check_features(FeatureRequest(endpoints=("http", "grpc"), filesystems=FILESYSTEMS), cpu)
    assert remarks == ["the prebuilt server also has the endpoints sagemaker, vertex-ai"]


def test_no_prebuilt_server_of_the_matrix_promises_unknown_features(matrix: Matrix) -> None:
    for server in matrix.servers.values():
        assert set(server.features.endpoints) <= set(ENDPOINTS)
        assert set(server.features.filesystems) <= set(FILESYSTEMS)
