"""Take the pictures of the HTML report, from stored runs, in a headless Chromium.

Usage: ``python docs/images/make_report_pngs.py [FOLDER]``. It needs Chromium, and the font Roboto for the same look
(``apt-get install chromium fonts-roboto-unhinted``).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

from coldwarm.catalog.catalog import Catalog
from coldwarm.report.exporters import Report
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.stored import judge_stored

HERE = Path(__file__).parent
RECORDS = HERE.parent.parent / "records"
H200 = RECORDS / "h200-2026-11-29-vllm-0.33"
NOT_SHARED = RECORDS / "cpu-2026-11-29-vllm-0.32-graphs"
CHROMIUM = "/usr/bin/chromium"
SCALE = 1.5
"""Pixels of the picture for each pixel of the page."""


@dataclass(frozen=True)
class Picture:
    """A picture of a part of the page."""

    name: str
    suite: Path
    width: int
    height: int
    scheme: Literal["light", "dark"] = "light"
    opened: str | None = None
    """The run whose row is opened; the picture then begins at the row."""
    element: str | None = None
    """The picture is of this element only."""


PICTURES = [
    Picture("report-light.png", H200, 1200, 630),
    Picture("report-dark.png", H200, 1200, 630, "dark"),
    Picture("report-run-light.png", H200, 1200, 880, opened="glm-4.5"),
    Picture("report-run-dark.png", H200, 1200, 880, "dark", opened="glm-4.5"),
    Picture("report-graphs.png", NOT_SHARED, 1200, 900, element=".map"),
    Picture("report-narrow.png", H200, 390, 800, opened="minimax-m2.5"),
]


def take(browser: Browser, picture: Picture, pages: Path, folder: Path) -> None:
    """Write one picture to `folder`; the report is written to `pages` first."""
    report = pages / f"{picture.suite.name}.html"
    if not report.exists():
        Report("html", report).write(SuiteSummary.of(judge_stored(picture.suite, Catalog.read())))
    viewport = {"width": picture.width, "height": picture.height}
    with browser.new_context(viewport=viewport, color_scheme=picture.scheme, device_scale_factor=SCALE) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(report.as_uri())
        if picture.opened is not None:
            _open(page, picture.opened)
        path = folder / picture.name
        if picture.element is None:
            page.screenshot(path=path)
        else:
            page.locator("button.cell").first.click()
            page.locator(picture.element).first.screenshot(path=path)


def _open(page: Page, run: str) -> None:
    toggle = page.get_by_role("button", name=run, exact=True)
    toggle.click()
    toggle.evaluate("(each) => scrollTo(0, each.getBoundingClientRect().top + scrollY - 24)")
    page.mouse.move(0, 0)


def main(folder: Path) -> None:
    """Write all pictures to `folder`."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as pages:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for picture in PICTURES:
            take(browser, picture, Path(pages), folder)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
