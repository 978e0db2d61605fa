"""Debian's Chromium, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tritonbuild.console import Console
from tritonbuild.host import apt_install, can_install

PACKAGES = ["chromium", "chromium-driver", "fonts-dejavu-core"]

Open = Callable[..., Chrome]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's driver, which is installed where it is missing."""
    if shutil.which("chromedriver") is None:
        if not can_install():
            pytest.fail(f"Debian's {' and '.join(PACKAGES)} are not installed", pytrace=False)
        console = Console()
        with console.step("chromium", "a browser for these tests") as step:
            apt_install(PACKAGES, step)
    return str(shutil.which("chromedriver"))


@pytest.fixture
def open_browser(chromium: str) -> Iterator[Open]:
    """A function that starts a browser with a window of some pixels, which may prefer dark pages."""
    with ExitStack() as stack:

        def start(width: int, height: int, *, dark: bool = False) -> Chrome:
            options = ChromeOptions()
            for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
                options.add_argument(flag)
            options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
            browser = Chrome(options=options, service=ChromeService(chromium))
            stack.callback(browser.quit)
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
            )
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            return browser

        yield start
