from __future__ import annotations

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.phases import Phase
from coldwarm.report.exporters import Report, render
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.result import RunResult
from tests.support.records import cold_record, expectation, model_entry, warm_record
from tests.support.runs import crashed, failed, known, passed, result_of, unsupported


def markdown(*results: RunResult) -> str:
    return render("markdown", SuiteSummary.of(list(results)))


def html(*results: RunResult) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(markdown(*results)))


def test_every_run_has_a_row() -> None:
    text = html(passed(), failed(), known(), unsupported(), crashed())
    for name, status in (
        ("passes", "passed"),
        ("fails", "failed"),
        ("known", "known issue"),
        ("unsupported", "unsupported"),
        ("crashes", "error"),
    ):
        [row] = [row for row in text.split("<tr>") if f"<td>{name}</td>" in row and f"<td>{status}</td>" in row]
        assert row.count("<td>") == 8


def test_a_failure_has_its_reasons_and_the_reproduce_command() -> None:
    text = html(failed())
    assert "<li>cold start saved 4 artifacts (expected at most 3" in text
    assert "coldwarm run fails --device cpu" in text
    assert "<strong>" not in html(passed(), unsupported())


def test_a_depth_reports_once_what_it_does_not_check() -> None:
    shallow = [
        result_of(model_entry(id=name), cold_record(depth=Depth.COUNT), warm_record(depth=Depth.COUNT)) for name in "ab"
    ]
    assert html(*shallow).count("--depth count does not check the engine") == 1
    assert "does not check" not in html(passed(), known())


def test_a_known_issue_is_named_without_a_reproduce_command() -> None:
    text = html(known())
    assert "https://example.org/issues/1" in text
    assert "coldwarm run" not in text


def test_markup_is_escaped() -> None:
    text = html(crashed(failure={"what": "a|b <b>*c*</b> `d`\n# e"}))
    assert "a|b &lt;b&gt;*c*&lt;/b&gt; `d` # e" in text


def test_every_start_has_its_phases_and_the_number_of_parallel_starts() -> None:
    phases = [Phase(name="import", seconds=3.0), Phase(name="unaccounted", seconds=0.25)]
    text = markdown(
        result_of(
            model_entry(expect=[expectation()]),
            cold_record(phases=phases, seconds=3.25, side_by_side=8),
            warm_record(phases=phases[:1], seconds=3.0, side_by_side=2),
        )
    )
    assert "| model | start | parallel starts | s | import | unaccounted |" in text
    assert "| tiny | cold | 8 | 3.2 | 3.0 | 0.2 |" in text
    assert "| tiny | warm | 2 | 3.0 | 3.0 |  |" in text


def test_without_starts_there_are_no_phases() -> None:
    assert "details" not in markdown(unsupported())


def test_an_unwritable_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        Report("markdown", tmp_path / "file" / "summary.md").write(SuiteSummary.of([passed()]))
