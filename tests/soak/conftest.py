"""The server that most soak tests share, and the figures that the report ends with."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

import pytest
from docker.models.images import Image

from tests.image.conftest import engine, image, spec  # noqa: F401  (fixtures)
from tests.image.serving import log_tail
from tests.soak.stage import Stage, send_signal, stage, wait_for_exit
from tritonbuild.spec import BuildSpec

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Takes a line for the report: what was measured, but is not judged."""
    return pytestconfig.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("measured")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the server's log with a test that failed on it."""
    report = yield
    if report.failed and report.when == "call":
        stages = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Stage)]
        report.sections += [("log of the server", shown.log()) for shown in stages]
    return report


@pytest.fixture(scope="session")
def shared(
    image: Image,
    spec: BuildSpec,
    tmp_path_factory: pytest.TempPathFactory,
    measured: Callable[[str], None],
) -> Iterator[Stage]:
    """A server that outlives many tests, and must then still end in order."""
    with stage(image, spec, tmp_path_factory.mktemp("shared")) as found:
        measured(f"from the container's start to ready: {found.seconds_to_ready:.1f} s")
        yield found
        sent = send_signal(found.container, "SIGTERM")
        code = wait_for_exit(found.container, 60)
        measured(f"idle server stopped {time.monotonic() - sent:.1f} s after SIGTERM")
        assert code == 0, log_tail(found.container)
