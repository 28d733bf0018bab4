"""Every report is made from the same summary of a suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.record import Failure, StartKind
from coldwarm.diagnose.explanation import Explanation
from coldwarm.pytest_plugin.suite import UnhealthyError
from coldwarm.report import exporters
from coldwarm.report.run_view import print_run
from coldwarm.report.summary import HEADINGS, RunSummary, SuiteSummary
from coldwarm.report.table import print_results
from coldwarm.suite.result import RunResult
from tests.report.consoles import Paper
from tests.support.explanations import finding
from tests.support.records import cold_record, model_entry, unfinished_record
from tests.support.runs import crashed, failed, fixed, known, passed, result_of, unsupported

ALL = [passed(), known(), unsupported(), failed(), fixed(), crashed()]
LOG = [f"line {number}" for number in range(20)]


def table(result: RunResult) -> str:
    paper = Paper()
    print_results(paper.console, SuiteSummary.of([result]))
    return paper.text


def run_view(result: RunResult) -> str:
    paper = Paper()
    print_run(paper.console, RunSummary.of(result))
    return paper.text


def exported(format_: str) -> Callable[[RunResult], str]:
    return lambda result: exporters.render(format_, SuiteSummary.of([result]))


def of_pytest(result: RunResult) -> str:
    return str(UnhealthyError(result))


OF_NUMBERS = ("csv", "prometheus", "pytorch")
"""Formats that have no room for reasons."""
VIEWS = {
    "table": table,
    "show": run_view,
    "pytest": of_pytest,
    **{format_: exported(format_) for format_ in exporters.formats() if format_ not in OF_NUMBERS},
}


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_crash_has_the_reason_the_log_and_the_command(view: str) -> None:
    text = VIEWS[view](crashed(failure=Failure(what="ValueError: no weights", log_tail=LOG)))
    for part in ("crashes", "error", "ValueError: no weights", "line 19", "coldwarm run crashes --device cpu"):
        assert part in text


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "show"])
def test_every_view_of_a_failure_has_its_finding(view: str) -> None:
    text = VIEWS[view](replace(failed(), explanation=Explanation(findings=[finding(what="another key")])))
    assert "another key" in text


def test_there_is_an_exporter_for_each_format() -> None:
    assert {"html", "json", "junit", "markdown"} <= set(exporters.formats())


def test_a_new_module_is_a_new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "count.py").write_text("def render(summary):\n    return f'{len(summary.runs)} runs'\n")
    (tmp_path / "_helper.py").touch()
    monkeypatch.setattr(exporters, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(exporters, "__path__", [str(tmp_path)])
    [report] = exporters.parse_reports([f"count={tmp_path / 'report'}"])
    report.write(SuiteSummary.of(ALL))
    assert (tmp_path / "report").read_text() == "6 runs"
    assert exporters.formats() == ["count"]


def test_a_suite_has_its_runs_in_order_and_the_worst_exit_code() -> None:
    summary = SuiteSummary.of(ALL)
    assert [run.name for run in summary.runs] == [result.case.name for result in ALL]
    assert {len(run.cells) for run in summary.runs} == {len(HEADINGS)}
    assert summary.exit_code is ExitCode.CRASHED
    assert SuiteSummary.of(ALL[:3]).exit_code is ExitCode.HEALTHY


def test_which_runs_need_attention() -> None:
    assert [run.name for run in SuiteSummary.of(ALL).runs if run.is_unhealthy] == ["fails", "fixed", "crashes"]


def test_checks_have_their_marks() -> None:
    marks = {run.name: {check.mark for check in run.checks} for run in SuiteSummary.of(ALL).runs}
    assert marks["fails"] >= {"ok", "FAIL"}
    assert "known" in marks["known"]
    assert "FAIL" not in marks["passes"] | marks["known"]


def test_the_log_tail_is_that_of_the_failed_start() -> None:
    warm = unfinished_record(StartKind.WARM, failure=Failure(what="no", log_tail=LOG))
    run = RunSummary.of(result_of(model_entry(), cold_record(), warm))
    assert run.log_tail() == [f"warm.log: {line}" for line in LOG]
    assert run.log_tail(2) == ["warm.log: line 18", "warm.log: line 19"]
    assert RunSummary.of(passed()).log_tail() == []


def test_evidence_of_failed_checks_is_complete_or_only_first_lines() -> None:
    result = failed()
    verdict = result.verdict
    checks = [check.model_copy(update={"evidence": ["a graph\nsecond line"]}) for check in verdict.checks]
    run = RunSummary.of(replace(result, verdict=verdict.model_copy(update={"checks": checks})))
    broken = sum(not check.holds for check in checks)
    assert 0 < broken < len(checks)
    assert run.evidence() == ["log: a graph\nsecond line"] * broken
    assert run.evidence(first_lines=True) == ["log: a graph"] * broken


def test_text_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    [report] = exporters.parse_reports([f"markdown={tmp_path / 'x.md'}"])
    report.write(SuiteSummary.of([crashed(failure=Failure(what="no \udcff"))]))
    assert "no ?" in (tmp_path / "x.md").read_text()
