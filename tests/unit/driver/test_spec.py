"""Rows with their defaults applied, and the names that images get."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tritonbuild.identifiers import BuildId
from tritonbuild.matrix import Matrix
from tritonbuild.paths import DOCKERFILES
from tritonbuild.spec import BuildSpec, default_source, resolve_spec
from tritonbuild.tags import image_reference, image_tag

SpecOf = Callable[[str], BuildSpec]


@pytest.mark.parametrize(
    ("row", "reference"),
    [
        ("24.08-cpu-pypi", "tritonserver:24.08-vllm-python-py3-cpu"),
        ("24.10-cpu-pypi", "tritonserver:24.10-vllm-python-py3-cpu"),
        ("24.08-cuda-pypi", "tritonserver:24.08-vllm-python-py3"),
        ("24.08-cuda-ngc", "tritonserver:24.08-vllm-python-py3-ngc"),
    ],
)
def test_images_are_named_as_the_contract_says(spec_of: SpecOf, row: str, reference: str) -> None:
    assert image_reference(spec_of(row)) == reference


def test_no_two_rows_share_a_tag(matrix: Matrix) -> None:
    tags = [image_tag(resolve_spec(matrix, row)) for row in matrix.rows()]
    assert len(tags) == len(set(tags))


def test_the_default_source_needs_no_vendor_registry() -> None:
    rows = [BuildId("24.08", "cuda", source) for source in ("source", "ngc", "pypi")]
    assert default_source(rows) == "pypi"
    assert default_source(rows[:2]) == "ngc"


def test_only_cuda_rows_get_a_compiler(cpu: BuildSpec, cuda: BuildSpec) -> None:
    assert "gcc" in cuda.packages
    assert "gcc" not in cpu.packages
    assert list(cuda.packages) == sorted(set(cuda.packages))


def test_a_spec_takes_its_pins_from_the_row(cpu: BuildSpec, spec_of: SpecOf) -> None:
    assert cpu.triton == cpu.server.triton == "2.49.0"
    assert cpu.vllm == cpu.engine.version
    assert cpu.folder == DOCKERFILES / "24.08" / "cpu-pypi"
    assert cpu.site_packages == "/usr/local/lib/python3.11/dist-packages"
    assert cpu.model is not None
    assert spec_of("24.08-cuda-ngc").site_packages.startswith("/usr/local/lib/python3.10/")


def test_a_spec_says_what_its_triton_is_able_to(spec_of: SpecOf) -> None:
    able = {row: spec_of(f"{row}-cpu-pypi").abilities for row in ("23.10", "24.07", "24.08")}
    assert set(able["23.10"].values()) == {False}
    assert {name for name, has in able["24.08"].items() if has != able["24.07"][name]} == {"histograms"}
    assert set(able["24.08"].values()) == {True}


def test_each_variant_has_its_own_size_budget(cpu: BuildSpec, cuda: BuildSpec) -> None:
    assert cpu.size_budget_mb == 2600
    assert cuda.size_budget_mb > cpu.size_budget_mb


def test_the_epoch_is_the_cutoff_of_the_lock(cuda: BuildSpec) -> None:
    assert cuda.epoch == 1725148800  # 2024-09-01T00:00:00Z


def test_rows_of_one_base_date_it_alike(cpu: BuildSpec, cuda: BuildSpec) -> None:
    assert cpu.epoch != cuda.epoch
    assert cpu.base_epoch == cuda.base_epoch == 1787529601  # a second after 2026-08-24T00:00:00Z
    undated = dataclasses.replace(cuda, base=cuda.base.model_copy(update={"date": None}))
    assert undated.base_epoch == cuda.epoch


def test_bases_with_a_digest_are_pinned_by_it(cpu: BuildSpec, spec_of: SpecOf) -> None:
    assert cpu.base.pinned_ref == f"{cpu.base.ref}@{cpu.base.digest}"
    undigested = spec_of("24.08-cuda-ngc").base
    assert undigested.pinned_ref == undigested.ref
