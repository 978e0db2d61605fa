"""What versions.yaml says once for every release: images, references, the name of the engine."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable

import pydantic
import pytest
import yaml

from tests.unit.driver.test_matrix import SMUGGLED
from tritonbuild.errors import MatrixError
from tritonbuild.identifiers import BuildId
from tritonbuild.labels import static_labels
from tritonbuild.locking import promised_versions, row_locks
from tritonbuild.matrix import Matrix
from tritonbuild.rendering import render_dockerfile
from tritonbuild.spec import BuildSpec, resolve_spec

TEXT = (
    """\
defaults:
  release: "25.04"
  image: tritonserver
  size_budget_mb: {cpu: 2600, cuda: 9500}
  images:
    cuda-ngc: {base: minimal, server: vendor, engine: "vllm-{vllm}", every_release: true, size_budget_mb: 9000}
    cuda-source: {base: minimal, server: compiled, engine: "vllm-{vllm}"}
bases:
  minimal:
    ref: vendor.example/tritonserver:{release}-py3-min
    digests:
      "25.04": sha256:DIGEST
    python: "3.12"
    glibc: "2.36"
    packages: [python3]
    evidence: [{source: a page, value: a value}]
  with-vllm:
    ref: vendor.example/vllm:{upstream}-py3
    python: "3.12"
    glibc: "2.36"
    packages: [python3]
    provides_vllm: true
    client: [tritonclient==2.67.0]
    evidence: [{source: a page, value: a value}]
toolchain:
  boost: {"2.36": libboost1.81-dev}
  cmake: [{since: "25.01", requirement: cmake==3.28.3, sha256: SHA256}]
servers:
  vendor:
    source: ngc
    ref: vendor.example/tritonserver:{release}-py3
    features: &features {endpoints: [http], filesystems: [s3], options: [metrics]}
    evidence: [{source: a page, value: a value}]
  compiled:
    source: source
    organization: https://sources.example/triton
    tag: r{release}
    features: *features
    evidence: [{source: a page, value: a value}]
engines:
  vllm-0.8.1:
    package: vllm
    version: 0.8.1
    cutoff: 2025-05-01T00:00:00Z
    torch: 2.6.0
    cuda: "12.4"
    driver_min: 525.60.13
    requirements: [pip]
    evidence: [{source: a page, value: a value}]
models: {}
releases:
  "25.04":
    triton: 2.57.0
    vllm: {public: 0.8.1, ngc: 0.8.1+5f4af9e0.nv25.4.cu129}
    cuda: 12.9.0.036
    driver_min: 575.51.02
    python: 3.12.3
    commits:
      server: &commit COMMIT
      core: *commit
      common: *commit
      backend: *commit
      third_party: *commit
      python_backend: *commit
    images:
      cuda-source: {}
    evidence: [{source: a page, value: a value}]
  "26.12":
    triton: 2.99.0
    vllm: {public: 0.8.1, ngc: 0.19.0+6bc3197f.nv26.11}
    cuda: 13.2.1.009
    driver_min: 595.58.03
    python: 3.12.3
    compute_capability_min: "7.5"
    upstream_container_version: "26.11"
    images:
      cuda-ngc: {base: with-vllm, engine: null, size_budget_mb: 30000}
    evidence: [{source: a page, value: a value}]
""".replace("SHA256", "ef" * 32)
    .replace("DIGEST", "ab" * 32)
    .replace("COMMIT", "cd" * 20)
)


@pytest.fixture
def load(edited: Callable[..., Matrix]) -> Callable[..., Matrix]:
    """A function that loads TEXT after replacing some of it."""
    return functools.partial(edited, TEXT)


@pytest.fixture
def minimal(load: Callable[..., Matrix]) -> BuildSpec:
    return resolve_spec(load(), BuildId("25.04", "cuda", "ngc"))


@pytest.fixture
def from_base(load: Callable[..., Matrix]) -> BuildSpec:
    """A row whose vLLM comes with its base image."""
    return resolve_spec(load(), BuildId("26.12", "cuda", "ngc"))


def test_an_image_of_every_release_is_named_once(load: Callable[..., Matrix]) -> None:
    assert list(map(str, load().rows())) == ["25.04-cuda-ngc", "25.04-cuda-source", "26.12-cuda-ngc"]
    rows = load((", every_release: true", "")).rows()
    assert list(map(str, rows)) == ["25.04-cuda-source", "26.12-cuda-ngc"]


def test_references_take_the_release_of_their_row(minimal: BuildSpec, from_base: BuildSpec) -> None:
    assert minimal.base.ref == "vendor.example/tritonserver:25.04-py3-min"
    assert minimal.server.origin == "vendor.example/tritonserver:25.04-py3"
    assert from_base.server.origin == "vendor.example/tritonserver:26.12-py3"


def test_upstreams_base_can_be_that_of_another_month(from_base: BuildSpec) -> None:
    assert from_base.base.ref == "vendor.example/vllm:26.11-py3"


def test_each_release_has_its_own_digest(minimal: BuildSpec, from_base: BuildSpec) -> None:
    assert minimal.base.pinned_ref == f"{minimal.base.ref}@sha256:{'ab' * 32}"
    assert from_base.base.pinned_ref == from_base.base.ref


def test_a_server_of_every_release_is_that_releases_triton(minimal: BuildSpec) -> None:
    assert minimal.triton == minimal.server.triton == "2.57.0"


def test_the_engine_can_follow_from_the_releases_vllm(load: Callable[..., Matrix]) -> None:
    assert load().releases["25.04"].images["cuda-ngc"].engine == "vllm-0.8.1"
    with pytest.raises(MatrixError) as failure:
        load(("    vllm: {public: 0.8.1, ngc: 0.8.1+5f", "    vllm: {public: 0.8.2, ngc: 0.8.1+5f"))
    first = failure.value.message.splitlines()[0]
    assert "cuda-ngc.engine: 'vllm-0.8.2' is not defined; did you mean 'vllm-0.8.1'?" in first


def test_a_compiled_server_has_its_tag_and_commits(load: Callable[..., Matrix]) -> None:
    spec = resolve_spec(load(), BuildId("25.04", "cuda", "source"))
    assert spec.server.tag == "r25.04"
    assert spec.server.origin == "https://sources.example/triton/server at r25.04"
    assert spec.commits is not None
    assert spec.commits.python_backend == "cd" * 20


def test_where_the_base_provides_vllm_its_version_is_nvidias(from_base: BuildSpec) -> None:
    assert from_base.engine is None
    assert from_base.vllm == "0.19.0+6bc3197f.nv26.11"
    assert (from_base.cuda, from_base.driver_min) == ("13.2.1.009", "595.58.03")
    assert from_base.compute_capability_min == "7.5"
    assert from_base.torch is None
    assert "io.tritonbuild.torch" not in static_labels(from_base)


def test_where_the_base_provides_vllm_there_is_no_lock_of_it(from_base: BuildSpec) -> None:
    assert promised_versions(from_base) == {"vllm": "0.19.0+6bc3197f.nv26.11"}
    assert (from_base.wheels, from_base.overrides, from_base.excludes) == ((), (), ())


def test_where_the_base_provides_vllm_only_the_client_is_locked(from_base: BuildSpec) -> None:
    (lock,) = row_locks(from_base)
    assert lock.path.name == "client.lock"
    assert lock.request.requirements == ("tritonclient==2.67.0",)
    assert not lock.request.with_dependencies


def test_where_the_base_provides_vllm_it_is_asserted_before_anything_is_installed(
    minimal: BuildSpec, from_base: BuildSpec
) -> None:
    text = render_dockerfile(from_base)
    check = text.index(f"python3 /run/check_vllm.py {from_base.vllm}\n")
    assert text.index("FROM ${BASE_IMAGE} AS base\n") < check < text.index("apt-get install")
    assert "requirements.lock" not in text
    assert "from=client," in text
    assert "check_vllm" not in render_dockerfile(minimal)


def test_a_row_without_a_lock_is_dated_at_the_end_of_its_month(
    minimal: BuildSpec, from_base: BuildSpec
) -> None:
    assert from_base.as_of == dt.datetime(2027, 1, 1, tzinfo=dt.timezone.utc)
    assert minimal.as_of == minimal.engine.cutoff if minimal.engine else False


def test_an_image_can_have_a_budget_of_its_own(
    load: Callable[..., Matrix], minimal: BuildSpec, from_base: BuildSpec
) -> None:
    compiled = resolve_spec(load(), BuildId("25.04", "cuda", "source"))
    budgets = [spec.size_budget_mb for spec in (minimal, from_base, compiled)]
    assert budgets == [9000, 30000, 9500]


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        (
            "base: with-vllm, engine: null",
            "base: with-vllm, engine: vllm-0.8.1",
            "base: with-vllm",
            "cuda-ngc.engine: its base with-vllm provides vLLM; write `engine: null`",
        ),
        (
            "base: with-vllm, engine: null",
            "engine: null",
            "engine: null",
            "cuda-ngc: it has no engine, and its base minimal provides none",
        ),
        (
            ", ngc: 0.19.0+6bc3197f.nv26.11",
            "",
            "base: with-vllm",
            "vLLM is that of with-vllm, but the release has no `vllm.ngc`",
        ),
        (
            "    digests:\n",
            "    digest: sha256:" + "0" * 64 + "\n    digests:\n",
            "    digest: ",
            "bases.minimal.digest: one digest cannot fit the images of all releases",
        ),
        (
            "tritonserver:{release}-py3-min",
            "tritonserver:py3-min",
            "    digests:",
            "bases.minimal.digests: `ref` has no placeholder",
        ),
        (
            '      "25.04": sha256',
            '      "25.05": sha256',
            '      "25.05": sha256',
            "bases.minimal.digests.25.05: there is no such release; did you mean '25.04'?",
        ),
        (
            "    client: [tritonclient==2.67.0]\n",
            "",
            "  with-vllm:",
            "bases.with-vllm: a base that provides vLLM needs `client`",
        ),
        ("    tag: r{release}\n", "", "  compiled:", "servers.compiled: a source server needs 'tag'"),
        (
            "    tag: r{release}\n",
            "    tag: r{release}\n    ref: vendor.example/x\n",
            "    ref: vendor.example/x\n",
            "servers.compiled.ref: a source server has no 'ref'",
        ),
        (
            'since: "25.01"',
            'since: "26.01"',
            "      cuda-source: {}",
            "cuda-source.server: compiled is compiled, but `toolchain` has no cmake for 25.04",
        ),
        (
            'boost: {"2.36"',
            'boost: {"2.35"',
            "      cuda-source: {}",
            "cuda-source.base: minimal has glibc 2.36, for which `toolchain` has no boost",
        ),
        (
            "options: [metrics]",
            "options: [gpu-metrics]",
            "      cuda-source: {}",
            "cuda-source.server: compiled measures GPUs, but `toolchain` has no dcgm for 25.04",
        ),
        ("tritonserver:{release}-py3\n", "tritonserver:{row}-py3\n", ":{row}-py3", "servers.vendor.ref: "),
        ("r{release}", "r{release};id", "r{release};id", "servers.compiled.tag: "),
        ("https://sources.example/triton", "http://x.example", "http://x", "servers.compiled.organization: "),
        (
            f"server: &commit {'cd' * 20}",
            "server: &commit main",
            "&commit main",
            "25.04.commits.server: ",
        ),
        ("every_release: true", "every_releas: true", "every_releas:", "did you mean 'every_release'?"),
    ],
)
def test_what_does_not_fit_together_is_named_with_its_line(
    load: Callable[..., Matrix], old: str, new: str, line: str, expected: str
) -> None:
    with pytest.raises(MatrixError) as failure:
        load((old, new))
    changed = TEXT.replace(old, new)
    number = changed[: changed.index(line)].count("\n") + 1
    found = failure.value.message.splitlines()
    assert any(x.startswith(f"versions.yaml:{number}: ") and expected in x for x in found), found


def test_a_compiled_server_needs_the_commits_of_its_release(load: Callable[..., Matrix]) -> None:
    start, end = TEXT.index("    commits:\n"), TEXT.index("    images:\n      cuda-source")
    with pytest.raises(MatrixError, match="compiled is compiled, but the release has no `commits`"):
        load((TEXT[start:end], ""))


@pytest.mark.parametrize(
    "location",
    [
        ("bases", "minimal", "ref"),
        ("bases", "minimal", "digests", "25.04"),
        ("servers", "vendor", "ref"),
        ("servers", "compiled", "organization"),
        ("servers", "compiled", "tag"),
        ("releases", "25.04", "commits", "core"),
        ("releases", "25.04", "vllm", "ngc"),
        ("releases", "25.04", "python"),
        ("releases", "26.12", "compute_capability_min"),
        ("releases", "26.12", "upstream_container_version"),
    ],
    ids=lambda location: ".".join(location),
)
def test_no_string_takes_more_than_its_shape(location: tuple[str, ...]) -> None:
    for value in [*SMUGGLED, "{row}", "{release"]:
        data = yaml.safe_load(TEXT)
        inner = data
        for part in location[:-1]:
            inner = inner[part]
        inner[location[-1]] = value
        with pytest.raises(pydantic.ValidationError) as failure:
            Matrix.model_validate(data)
        assert failure.value.errors()[0]["loc"] == location, value
