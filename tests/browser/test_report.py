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
MB = 1_000_000
# What the cpu rows from wheels are made of, in MB, as builds of them had it: a base, Python with vLLM, the model and the
# server, of which rows of one engine share all but the last.
PARTS = {
    "python: torch": 515,
    "models": 273,
    "python: vllm": 186,
    "python: llvmlite": 161,
    "python: opencv_python_headless": 153,
    "server": 110,
    "python: scipy": 96,
    "python: transformers": 59,
    "python: numpy": 47,
    "debian": 44,
    "python: outlines_core": 12,
}
RELEASES = (
    "23.10",
    "23.12",
    "24.01",
    "24.02",
    "24.03",
    "24.04",
    "24.05",
    "24.06",
    "24.07",
    "24.08",
    "24.09",
    "24.10",
)


def record_row(folder: Path, number: int, release: str) -> None:
    """Leave the records of one row: the last one is built only, the one before not released."""
    row, image_id = f"{release}-cpu-pypi", f"sha256:{number:064x}"
    shared = [("a" * 64, 183), ("b" * 64, 0.02), ("c" * 64, 1_842), ("d" * 64, 273)]
    layers = [*shared, (f"{number:064x}", 104 + number), (f"{number + 50:064x}", 0.3)]
    smoke = {
        "image_id": image_id,
        "tests_sha256": "1",
        "passed": 88,
        "failed": 0,
        "skipped": [f"test_generation_on_the_gpu: {NO_GPU}", f"test_gpu_metrics: {NO_GPU}"],
    }
    update_record(
        folder / row,
        image_id=image_id,
        revision="f7c3bc1d808e04732adf679965ccc34ca7ae3441",
        size=int(sum(size for _, size in layers) * MB),
        layers=[{"diff_id": f"sha256:{name}", "size": int(size * MB)} for name, size in layers],
        facts={"parts": {part: (size + number % 3) * MB for part, size in PARTS.items()}},
        smoke=smoke if release != RELEASES[-1] else {},
    )
    if release in RELEASES[:-2]:
        finding = {"package": "pillow", "version": "10.4.0", "ids": ["CVE-2025-1"], "allowed": "never called"}
        update_record(
            folder / "releases/registry.example_team_tritonserver" / row,
            repository="registry.example/team/tritonserver",
            digest=f"sha256:{number + 16**63:064x}",
            smoke=smoke,
            audit={"asked": 280, "findings": [finding] * (number % 3)}
            | ({"not_asked": "no answer"} if number == 2 else {}),
            evidence={"sbom.cdx.json": "sha256:1"},
            tags=[
                f"{row}-triton2.49.0-vllm0.30.0-gf7c3bc1d808e",
                f"{release}-vllm-python-py3-cpu",
                *(["latest-cpu"] if release == RELEASES[-3] else []),
            ],
            promoted="2026-11-24T07:00:00+00:00",
        )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of twelve rows: ten released, one proven, one built only."""
    folder = tmp_path_factory.mktemp("report")
    for number, release in enumerate(RELEASES):
        record_row(folder, number, release)
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
    assert tiles[1:] == ["12\nbuilt", "11\nproven", "10\nreleased"]
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
    first = browser.find_element(By.CSS_SELECTOR, "details[open]:not(.rest) svg")
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
        for box in browser.find_elements(By.CSS_SELECTOR, "details[open]:not(.rest)")
    ]
    assert opened() == ["tritonserver:23.10-vllm-python-py3-cpu"]
    browser.find_element(By.LINK_TEXT, "24.08-cpu-pypi").click()
    assert "tritonserver:24.08-vllm-python-py3-cpu" in opened()


def test_what_was_built_is_told_first_and_the_rest_of_the_matrix_on_demand(
    open_browser: Open, page: Path
) -> None:
    browser = open_browser(1200, 900)
    browser.get(page.as_uri())
    lines = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#built tbody tr")]
    assert [line.split()[0] for line in lines] == [f"{release}-cpu-pypi" for release in RELEASES]
    assert lines[0].split()[1:8] == ["released", "88", "passed,", "2", "skipped", "none", "2,402"]
    assert "not asked" in lines[2]
    assert [line.split()[1] for line in lines[-2:]] == ["proven", "built"]
    table = browser.find_element(By.ID, "built")
    assert table.size["width"] <= table.find_element(By.XPATH, "..").size["width"], "a column is cut off"
    rest = browser.find_element(By.CSS_SELECTOR, "details.rest")
    assert not rest.find_element(By.TAG_NAME, "table").is_displayed()
    rest.find_element(By.TAG_NAME, "summary").click()
    assert "24.08-cuda-ngc" in rest.text
