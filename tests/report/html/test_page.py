from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coldwarm.report.exporters import Report, render
from coldwarm.report.html.page import render_suites
from coldwarm.report.html.suite_report import write_suite_report
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.result import RunResult
from tests.report.html.suites import hostile, not_shared, stored_suite
from tests.support.repeated import repeated
from tests.support.runs import crashed, failed, known, passed, unsupported


def page(*results: RunResult) -> str:
    return render("html", SuiteSummary.of(list(results)))


class Reader(HTMLParser):
    """Collects the tags of a page with the names of their attributes, its links and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.links: list[str] = []
        self.text = ""
        self.words = ""
        """The text with single spaces, also between tags, without the style sheet and the script."""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.words = " ".join([*self.words.split(), *data.split()])


ANGRY = (
    "<script>document.title='changed'</script>",
    '"><img src=x onerror="document.title=\'changed\'">',
    "'><svg onload=alert(1)>",
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "&lt;b&gt;",
    "a\x00b\x1b[31mred\x1b[0m\u202egnp.exe",
    "\ud800",
)


@pytest.mark.parametrize("text", ANGRY)
def test_text_stays_text(text: str) -> None:
    found = Reader(page(hostile(text)))
    assert found.tags == Reader(page(hostile("harmless"))).tags
    assert set(found.links) == {"data:,", "#runs"}


@given(st.text(st.characters(codec=None), min_size=1, max_size=30))
@example("<b>")
def test_any_text_stays_text(text: str) -> None:
    # Empty lines do not have the same number of parts.
    assert Reader(page(hostile(f"x{text}"))).tags == Reader(page(hostile("x"))).tags


def test_markup_is_shown_as_it_is() -> None:
    assert Reader(page(hostile(ANGRY[0]))).text.count(ANGRY[0]) > 20


def test_control_characters_are_spelled_out_and_colours_are_left_out() -> None:
    text = Reader(page(hostile("a\x00b\x1b[31mred\x1b[0m\u202eend"))).text
    assert "a\\x00bred\\u202eend" in text


@pytest.mark.parametrize(
    ("link", "is_link"),
    [
        ("https://example.org/issues/1", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("data:text/html,<script>alert(1)</script>", False),
        ("docs/known-issues/a.md", False),
        ("https://[", False),
        ("//example.org", False),
    ],
)
def test_only_links_to_the_web_can_be_followed(link: str, is_link: bool) -> None:
    result = known()
    issues = [issue.model_copy(update={"link": link}) for issue in result.verdict.issues]
    found = Reader(page(replace(result, verdict=result.verdict.model_copy(update={"issues": issues}))))
    assert (link in found.links) is is_link
    assert is_link or (link if "://" in link else "coldwarm show one-too-many") in found.text


def test_a_suite_of_real_runs_is_small_and_complete() -> None:
    text = render("html", stored_suite())
    assert len(text.encode()) < 1_000_000
    for part in ("deepseek-v3.2", "NVIDIA H200", "vLLM 0.33.0", "6 known issues, 2 passed", "LLFp32WDotprod"):
        assert part in text


def test_the_page_allows_only_its_own_script() -> None:
    text = page(passed())
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert text.count("<script") == 1
    assert not re.search(r"url\(|@import|https?://(?!example\.org)", text)


@pytest.mark.parametrize("result", [passed(), failed(), known(), unsupported(), crashed(), not_shared()])
def test_each_status_has_its_page(result: RunResult) -> None:
    text = Reader(page(result)).text
    assert str(result.verdict.status) in text
    assert result.reproduce in text
    for reason in result.verdict.reasons:
        assert reason.removesuffix(" (https://example.org/issues/1)") in text


def test_an_empty_suite_has_a_page() -> None:
    assert "Nothing was run." in page()


def test_several_suites_have_a_section_each() -> None:
    suites = [("monday", SuiteSummary.of([passed()])), ("tuesday", SuiteSummary.of([passed(), failed()]))]
    text = render_suites(suites)
    assert re.findall(r"<h2>(.*)</h2>", text) == ["monday", "tuesday"]
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "1 failed, 2 passed" in text


def test_repetitions_have_their_verdicts_and_seconds() -> None:
    words = Reader(page(repeated([20.0, 21.5], [3.0, 4.5]))).words
    assert "Repetition 1 of 2 is shown, which has the worst verdict" in words
    assert "1 ✓ passed 20.0 3.0 2 ✓ passed 21.5 4.5" in words
    assert "Repetition" not in page(passed())


def test_the_page_is_the_same_each_time() -> None:
    assert page(not_shared()) == page(not_shared())


def test_a_report_is_written_into_the_folder_of_a_suite(tmp_path: Path) -> None:
    assert write_suite_report(tmp_path, []) is None
    path = write_suite_report(tmp_path, [passed()])
    assert path == tmp_path / "report.html"
    assert path.read_text().startswith("<!doctype html>")


def test_lone_surrogates_can_be_written(tmp_path: Path) -> None:
    Report("html", tmp_path / "r.html").write(SuiteSummary.of([hostile("\ud800")]))
    assert "\\ud800" in (tmp_path / "r.html").read_text()
