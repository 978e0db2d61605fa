"""The report in Chromium: no error, nothing fetched, readable on a desk and on a phone, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.browser.conftest import Open
from tritonbuild import cli
from tritonbuild.paths import BUILD
from tritonbuild.records import update_record
from tritonbuild.smoke import NO_GPU

SCREENS = {"desk": (1200, 900, False), "phone": (390, 844, True)}
LAYERS = [(f"sha256:{number:064x}", size) for number, size in enumerate((90e6, 0, 1.9e9, 273e6, 110e6, 2e5))]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a few rows: one released, one proven, one built only."""
    folder = tmp_path_factory.mktemp("report")
    parts = {"python: torch": 515e6, "models": 273e6, "python: vllm": 186e6, "server": 110e6}
    for release in ("24.07", "24.08", "24.09"):
        update_record(
            folder / f"{release}-cpu-pypi",
            image_id=f"sha256:{release}",
            revision="0123456789abcdef",
            size=2_415_000_000,
            layers=[{"diff_id": diff_id, "size": int(size)} for diff_id, size in LAYERS],
            facts={"parts": parts},
            smoke={
                "image_id": f"sha256:{release}",
                "tests_sha256": "1",
                "passed": 88,
                "failed": 0,
                "skipped": [f"test_gpu: {NO_GPU}"],
            }
            if release != "24.09"
            else {},
        )
    update_record(
        folder / "releases/localhost_5000_tritonserver/24.08-cpu-pypi",
        repository="localhost:5000/tritonserver",
        digest="sha256:" + "a" * 64,
        smoke={"passed": 88, "failed": 0, "skipped": []},
        audit={"asked": 280, "findings": []},
        evidence={"sbom.cdx.json": "sha256:1"},
        tags=["24.08-vllm-python-py3-cpu"],
        promoted="2026-11-24T07:00:00+00:00",
    )
    assert cli.main(["report", "--build-dir", str(folder), "--output", str(folder / "report.html")]) == 0
    return folder / "report.html"


def take_screenshot(browser: Chrome, name: str) -> None:
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    BUILD.mkdir(exist_ok=True)
    (BUILD / f"report-{name}.png").write_bytes(base64.b64decode(shot["data"]))


@pytest.mark.parametrize("screen", SCREENS)
def test_page_is_whole_and_silent(open_browser: Open, page: Path, screen: str) -> None:
    width, height, dark = SCREENS[screen]
    browser = open_browser(width, height, dark=dark)
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    tiles = [tile.text for tile in browser.find_elements(By.CLASS_NAME, "tile")]
    assert tiles[1:] == ["3\nbuilt", "2\nproven", "1\nreleased"]
    take_screenshot(browser, screen)


def test_colours_follow_the_reader(open_browser: Open, page: Path) -> None:
    def brightness(dark: bool) -> int:
        browser = open_browser(800, 600, dark=dark)
        browser.get(page.as_uri())
        colour = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        return sum(int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3])

    assert brightness(dark=True) < 200 < 600 < brightness(dark=False)


def test_charts_are_drawn_in_the_colours_of_the_page(open_browser: Open, page: Path) -> None:
    browser = open_browser(1200, 900)
    browser.get(page.as_uri())
    first = browser.find_element(By.CSS_SELECTOR, "details[open] svg")
    assert first.size["width"] > 600
    bars = first.find_elements(By.CSS_SELECTOR, ".series .bar rect")
    colours = {bar.value_of_css_property("fill") for bar in bars}
    assert len(colours) == 4, "the layers of more than a megabyte"
    assert not colours & {"rgb(0, 0, 0)", "none"}


def test_a_link_of_the_table_opens_its_image(open_browser: Open, page: Path) -> None:
    browser = open_browser(1200, 900)
    browser.get(page.as_uri())
    opened: Callable[[], list[str]] = lambda: [  # noqa: E731
        box.find_element(By.TAG_NAME, "summary").text
        for box in browser.find_elements(By.CSS_SELECTOR, "details[open]")
    ]
    assert opened() == ["tritonserver:24.07-vllm-python-py3-cpu"]
    browser.find_element(By.LINK_TEXT, "24.08-cpu-pypi").click()
    assert "tritonserver:24.08-vllm-python-py3-cpu" in opened()
