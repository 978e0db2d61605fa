"""Options that every part of the test suite shares."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tritonbuild")
    group.addoption("--image", metavar="REF", help="the built image to test (default: the tag of the row)")
    group.addoption(
        "--row",
        metavar="ROW",
        help="the row of versions.yaml it was built from (default: the default cpu row)",
    )
    group.addoption(
        "--recipe", metavar="DIR", help="what an image with another vLLM than its row's was built from"
    )
