"""The report in a real browser: clicks, keys, sorting, colours, narrow screens, print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from coldwarm.catalog.catalog import Catalog
from coldwarm.comparison.compare import compare_sides
from coldwarm.comparison.stored import sides_of
from coldwarm.report.exporters import Report
from coldwarm.report.html.comparison import render_comparison
from coldwarm.report.summary import SuiteSummary
from tests.report.html.suites import H200, hostile, not_shared, stored_suite
from tests.support.chromium import Watched, started_chromium
from tests.support.commands import ROOT
from tests.support.runs import crashed, failed, known, passed, unsupported

UNSHARED = ROOT / "records" / "h200-2026-11-29-vllm-0.26"
SMALL: ViewportSize = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """Opens pages, and fails if one reports an error or requests anything."""
    watched = Watched(browser)
    yield watched
    assert watched.problems == []


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on the default catalog on an H200."""
    return written(tmp_path_factory.mktemp("real"), stored_suite())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with each status, and a subgraph that is not shared."""
    results = [not_shared(), passed(), failed(), known(), unsupported(), crashed()]
    return written(tmp_path_factory.mktemp("made"), SuiteSummary.of(results))


def written(folder: Path, summary: SuiteSummary) -> Path:
    path = folder / "report.html"
    Report("html", path).write(summary)
    return path


def names(page: Page) -> list[str]:
    return page.locator(".toggle").all_inner_texts()


def overflow(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def open_everything(page: Page) -> None:
    # A single run is open.
    if page.locator(".toggle[aria-expanded=false]").count():
        page.get_by_role("button", name="Expand all").click()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def test_a_row_opens_by_click_and_by_key(watched: Watched, real: Path) -> None:
    with watched.page(real) as page:
        toggle, detail = page.get_by_role("button", name="glm-4.5"), page.locator("#detail-2")
        expect(detail).to_be_hidden()
        toggle.click()
        expect(detail).to_be_visible()
        expect(toggle).to_have_attribute("aria-expanded", "true")
        for part in ("Findings", "Time line", "Subgraphs", "Caches and compilers", "Checks", "Reproduce"):
            expect(detail.get_by_role("heading", name=part, exact=True)).to_be_visible()
        toggle.press("Enter")
        expect(detail).to_be_hidden()
        toggle.press(" ")
        expect(detail).to_be_visible()
        # The whole row is a target for the mouse.
        page.locator("#run-1 td").nth(2).click()
        expect(page.locator("#detail-1")).to_be_visible()


def test_a_link_that_cannot_be_decoded_breaks_nothing(watched: Watched, real: Path) -> None:
    with watched.page(real, fragment="#100%") as page:
        page.get_by_role("button", name="Cold s", exact=True).click()
        assert names(page)[0] == "llama-3.1-8b"


def test_a_button_works_with_text_selected(watched: Watched, real: Path) -> None:
    with watched.page(real) as page:
        page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
        page.get_by_role("button", name="glm-4.5").press("Enter")
        expect(page.locator("#detail-2")).to_be_visible()


def test_all_rows_open_and_close(watched: Watched, real: Path) -> None:
    with watched.page(real) as page:
        page.get_by_role("button", name="Expand all").click()
        expect(page.locator(".detail:visible")).to_have_count(8)
        page.get_by_role("button", name="Collapse all").click()
        expect(page.locator(".detail:visible")).to_have_count(0)


def test_a_single_run_and_a_linked_one_are_open(watched: Watched, real: Path, tmp_path: Path) -> None:
    with watched.page(written(tmp_path, SuiteSummary.of([passed()]))) as page:
        expect(page.locator("#detail-1")).to_be_visible()
    with watched.page(real, fragment="#kimi-k2.5") as page:
        expect(page.locator(".detail:visible")).to_have_count(1)
        expect(page.locator("#detail-4")).to_be_in_viewport()


def test_the_table_is_sorted_by_numbers_names_and_urgency(watched: Watched, real: Path) -> None:
    with watched.page(real) as page:
        heading = page.get_by_role("columnheader", name="Cold s", exact=True)
        heading.get_by_role("button").click()
        expect(heading).to_have_attribute("aria-sort", "ascending")
        assert names(page)[0] == "llama-3.1-8b"
        heading.get_by_role("button").press("Enter")
        expect(heading).to_have_attribute("aria-sort", "descending")
        assert names(page)[0] == "deepseek-v3.2"
        page.get_by_role("button", name="Model", exact=True).click()
        expect(heading).to_have_attribute("aria-sort", "none")
        assert names(page) == sorted(names(page))


def test_the_most_urgent_comes_first_and_what_has_no_number_last(watched: Watched, made: Path) -> None:
    with watched.page(made) as page:
        page.get_by_role("button", name="Verdict").click()
        assert names(page)[0] == "crashes"
        for _ in range(2):
            page.get_by_role("button", name="Warm s", exact=True).click()
            assert set(names(page)[-2:]) == {"unsupported", "crashes"}


def test_an_opened_row_stays_below_its_own(watched: Watched, real: Path) -> None:
    with watched.page(real) as page:
        page.get_by_role("button", name="qwen3-32b").click()
        page.get_by_role("button", name="Cold s", exact=True).click()
        place = "(id) => document.getElementById(id).getBoundingClientRect().top"
        assert page.evaluate(place, "detail-8") > page.evaluate(place, "run-8")
        expect(page.locator("#detail-8")).to_be_visible()


def test_a_subgraph_that_is_not_shared_shows_both_graphs(watched: Watched, made: Path) -> None:
    with watched.page(made) as page:
        page.get_by_role("button", name="apart").click()
        square = page.get_by_role("button", name="submod_4: artifact C, dense layer, layers 1-2, not shared with B")
        panel = page.get_by_role("region", name="Why artifact C is not shared with B")
        expect(panel).to_be_hidden()
        square.press("Enter")
        expect(panel).to_be_visible()
        expect(panel.locator("mark").first).to_have_text("mul")
        expect(panel.locator(".source")).to_contain_text("vllm/layer.py:11 x = x * self.scale")
        assert "site-packages" not in panel.inner_text()
        expect(panel.get_by_text("a3", exact=True)).to_be_hidden()
        panel.get_by_role("button", name="Show 10 identical lines").click()
        expect(panel.get_by_text("a3", exact=True)).to_be_visible()
        panel.press("Escape")
        expect(panel).to_be_hidden()
        expect(square).to_be_focused()


def test_arrow_keys_move_along_the_map_and_one_panel_is_open(watched: Watched, tmp_path: Path) -> None:
    with watched.page(written(tmp_path, stored_suite(UNSHARED))) as page:
        page.get_by_role("button", name="deepseek-v3.2").click()
        squares = page.locator("#detail-1 button.cell")
        squares.nth(0).click()
        squares.nth(0).press("ArrowRight")
        expect(squares.nth(1)).to_be_focused()
        squares.nth(1).press("Enter")
        expect(page.locator("#detail-1 .panel:visible")).to_have_count(1)
        expect(page.locator("#detail-1 .panel:visible")).to_contain_text("The graphs were not recorded with this run")
        squares.nth(1).press("ArrowLeft")
        expect(squares.nth(0)).to_be_focused()


def test_the_command_is_copied(watched: Watched, made: Path) -> None:
    with watched.page(made, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="fails").click()
        row = page.locator("#detail-3")
        row.get_by_role("button", name="Copy").click()
        expect(row.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == failed().reproduce


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_can_be_switched(watched: Watched, made: Path, scheme: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    colours = {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 24, 26)"}
    other = {"light": "dark", "dark": "light"}[scheme]
    with watched.page(made, color_scheme=scheme) as page:
        assert page.evaluate(background) == colours[scheme]
        page.get_by_role("button", name="Switch between light and dark").click()
        assert page.evaluate(background) == colours[other]
        page.reload()
        assert page.evaluate(background) == colours[other]


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/^rgba\\(.*, 0\\)$/.test(colour)) return rgb(colour);
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('.visually-hidden, .skip, .bar, script')) continue;
    const colours = [rgb(getComputedStyle(element).color), behind(element)];
    const [a, b] = colours.map(light).sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = `${element.className || element.tagName} ${element.textContent.trim().slice(0, 30)}`;
    if (ratio < 4.5) found.add(`${name}: ${ratio.toFixed(2)}`);
  }
  return [...found];
}"""
"""Returns the texts whose contrast is below that of WCAG 2.2, AA."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(watched: Watched, made: Path, scheme: str) -> None:
    with watched.page(made, color_scheme=scheme) as page:
        open_everything(page)
        page.locator("button.cell").first.click()
        assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("which", ["real", "made"])
def test_a_narrow_page_does_not_scroll_sideways(watched: Watched, which: str, request: pytest.FixtureRequest) -> None:
    with watched.page(request.getfixturevalue(which), viewport=SMALL) as page:
        assert overflow(page) == 0
        open_everything(page)
        for square in page.locator("button.cell").all():
            square.click()
        assert overflow(page) == 0
        expect(page.locator(".runs > thead th:visible")).to_have_count(4)


def test_two_suites_side_by_side(watched: Watched, tmp_path: Path) -> None:
    comparison = compare_sides(sides_of(UNSHARED, Catalog.read()), sides_of(H200, Catalog.read()))
    path = tmp_path / "compared.html"
    path.write_text(render_comparison(comparison, names=("vLLM 0.26", "vLLM 0.33")))
    with watched.page(path) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Regression in counts and findings, in 8 runs")
        page.get_by_role("button", name="Better", exact=True).click(click_count=2)
        assert names(page)[0] == "deepseek-v3.2"
        page.get_by_role("button", name="deepseek-v3.2").press("Enter")
        page.locator("#detail-1 button.cell").first.click()
        expect(page.locator("#detail-1 .panel:visible")).to_have_count(1)
        assert overflow(page) == 0
        page.set_viewport_size(SMALL)
        open_everything(page)
        assert overflow(page) == 0


def test_text_of_a_model_does_nothing(watched: Watched, tmp_path: Path) -> None:
    attack = "\"'></script><img src=x onerror=\"document.title='changed'\"><script>alert(1)</script>"
    with watched.page(written(tmp_path, SuiteSummary.of([hostile(attack)]))) as page:
        open_everything(page)
        expect(page.get_by_role("button", name=attack).first).to_be_visible()
        assert page.locator("img").count() == 0
        assert page.title() == f"coldwarm report: {attack}"


def test_a_script_in_the_page_would_not_run(watched: Watched, made: Path, tmp_path: Path) -> None:
    injected = made.read_text().replace("<footer", "<script>document.title = 'changed'</script><footer", 1)
    (tmp_path / "injected.html").write_text(injected)
    with watched.page(tmp_path / "injected.html") as page:
        assert page.title() == "coldwarm report"
    assert len(watched.problems) == 1
    assert "Content Security Policy" in watched.problems.pop()


def test_without_scripts_everything_is_there(watched: Watched, made: Path) -> None:
    with watched.page(made, java_script_enabled=False) as page:
        expect(page.locator(".detail:visible")).to_have_count(6)
        expect(page.get_by_text("mul = linear * 1.0")).to_be_visible()
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)


def test_on_paper_it_is_light_and_nothing_is_folded_away(watched: Watched, made: Path) -> None:
    with watched.page(made, color_scheme="dark") as page:
        page.get_by_role("button", name="fails").click()
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        expect(page.get_by_role("button", name="Expand all")).to_be_hidden()
        expect(page.locator("#detail-3 details:not([open])")).to_have_count(0)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        expect(page.locator("#detail-3 details[open]")).to_have_count(0)
        assert page.pdf().startswith(b"%PDF")
