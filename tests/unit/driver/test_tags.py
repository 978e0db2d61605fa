from __future__ import annotations

from collections.abc import Callable

import pytest

from tritonbuild.spec import BuildSpec
from tritonbuild.tags import candidate_tag, immutable_tag, latest_tag

SpecOf = Callable[[str], BuildSpec]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("row", "revision", "tag"),
    [
        ("24.08-cpu-pypi", COMMIT, "24.08-cpu-pypi-triton2.49.0-vllm0.30.0-g0123456789ab"),
        ("24.08-cpu-pypi", f"{COMMIT}-dirty", "24.08-cpu-pypi-triton2.49.0-vllm0.30.0-g0123456789ab-dirty"),
        # A tag cannot hold the plus of a local version.
        (
            "26.07-cuda-ngc",
            COMMIT,
            "26.07-cuda-ngc-triton2.71.0-vllm0.24.0_092c4842.nv26.7.57386851-g0123456789ab",
        ),
    ],
)
def test_tag_that_never_moves_names_every_pin(spec_of: SpecOf, row: str, revision: str, tag: str) -> None:
    assert immutable_tag(spec_of(row), revision) == tag


def test_candidates_of_two_images_have_two_names(cpu: BuildSpec) -> None:
    names = {candidate_tag(cpu, f"sha256:{digit * 64}") for digit in "ab"}
    assert names == {"rc-24.08-cpu-pypi-aaaaaaaaaaaa", "rc-24.08-cpu-pypi-bbbbbbbbbbbb"}


def test_only_rows_of_the_default_source_can_be_the_latest(spec_of: SpecOf) -> None:
    assert latest_tag(spec_of("24.08-cpu-pypi")) == "latest-cpu"
    assert latest_tag(spec_of("24.08-cuda-pypi")) == "latest"
    assert latest_tag(spec_of("24.08-cuda-ngc")) is None
