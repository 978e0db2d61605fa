"""Options that every part of the test suite shares, and what is left out where it makes no sense."""

from __future__ import annotations

import pytest

from tests.leaving_out import reason_to_leave_out

_LEFT_OUT = pytest.StashKey[list[str]]()
"""What was left out, with the reasons, for the report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tritonbuild")
    group.addoption("--image", metavar="REF", help="the built image to test (default: the tag of the row)")
    group.addoption("--bundle", metavar="DIR", help="test the files of this bundle, without an engine")
    group.addoption("--url", metavar="http://HOST[:PORT]", help="test a server that runs already")
    group.addoption("--grpc-port", metavar="PORT", type=int, default=8001, help="of the server at --url")
    group.addoption("--metrics-port", metavar="PORT", type=int, default=8002, help="of the server at --url")
    group.addoption(
        "--row",
        metavar="ROW",
        help="the row of versions.yaml it was built from (default: the default cpu row)",
    )
    group.addoption(
        "--recipe", metavar="DIR", help="what an image with another vLLM than its row's was built from"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ends_server: stops the server that other tests use; runs last")
    config.addinivalue_line("markers", "engine_has(*what): a test of what only some versions of vLLM have")
    config.addinivalue_line("markers", "engine_lacks(*what): what the others answer instead")
    config.addinivalue_line("markers", "needs(*what): what a test needs besides a server's ports")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    place = next((name for name in ("bundle", "url") if config.getoption(f"--{name}")), "engine")
    reasons = {item: reason_to_leave_out(item, place) for item in items}
    left_out = [item for item in items if reasons[item]]
    config.stash[_LEFT_OUT] = [f"{item.name}: {reasons[item]}" for item in left_out]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not reasons[item]]


@pytest.fixture(scope="session", autouse=True)
def _left_out_is_told(request: pytest.FixtureRequest) -> None:
    """Write what was left out into the report that programs read."""
    for line in request.config.stash[_LEFT_OUT]:
        request.getfixturevalue("record_testsuite_property")("left out", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_LEFT_OUT, [])
    if lines:
        terminalreporter.section(f"left out: {len(lines)} tests")
        for line in lines:
            terminalreporter.line(line)
