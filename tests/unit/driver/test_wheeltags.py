"""Which wheels an image's Python can install, by their names."""

from __future__ import annotations

import pytest

from tritonbuild.wheeltags import is_installable


@pytest.mark.parametrize(
    "filename",
    [
        "a-1-py3-none-any.whl",
        "a-1-py2.py3-none-any.whl",
        "a-1-cp311-cp311-manylinux_2_36_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "a-1-cp311-cp311-manylinux2014_x86_64.whl",
        "a-1-cp311-cp311-manylinux1_x86_64.whl",
        "a-1-cp311-cp311-linux_x86_64.whl",
        "a-1-cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "a-1-py3-none-manylinux2014_x86_64.whl",
        "a-1.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
    ],
)
def test_what_python_3_11_on_bookworm_can_install(filename: str) -> None:
    assert is_installable(filename, "3.11", "2.36")


@pytest.mark.parametrize(
    "filename",
    [
        "a-1-cp311-cp311-manylinux_2_37_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_28_aarch64.whl",
        "a-1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "a-1-cp311-cp311-macosx_11_0_arm64.whl",
        "a-1-cp311-cp311-win_amd64.whl",
        "a-1-cp310-cp310-manylinux_2_28_x86_64.whl",
        "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "a-1-cp312-abi3-manylinux_2_28_x86_64.whl",
        "a-1-cp311-cp311t-manylinux_2_28_x86_64.whl",
        "a-1-py2-none-any.whl",
        "a-1.tar.gz",
        "not-a-wheel.whl",
    ],
)
def test_what_it_cannot(filename: str) -> None:
    assert not is_installable(filename, "3.11", "2.36")


def test_an_older_c_library_takes_fewer_wheels() -> None:
    assert is_installable("a-1-cp310-cp310-manylinux_2_35_x86_64.whl", "3.10", "2.35")
    assert not is_installable("a-1-cp310-cp310-manylinux_2_36_x86_64.whl", "3.10", "2.35")
