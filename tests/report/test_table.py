from __future__ import annotations

import re
from dataclasses import replace

import pytest

from coldwarm.core.record import Failure
from coldwarm.diagnose.explanation import Explanation
from coldwarm.report.summary import SuiteSummary
from coldwarm.report.table import print_results
from coldwarm.suite.result import RunResult
from tests.report.consoles import Paper
from tests.support.explanations import finding
from tests.support.records import cold_record, expectation, model_entry, unfinished_record, warm_record
from tests.support.runs import crashed, failed, fixed, known, passed, result_of, unsupported

SUBGRAPHS = "vllm.num_piecewise_capturable_graphs_seen"
ALL = [passed(), known(), unsupported(), failed(), fixed(), crashed()]


def printed(*results: RunResult, width: int = 200) -> Paper:
    paper = Paper(width)
    print_results(paper.console, SuiteSummary.of(list(results)))
    return paper


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}|(?<=\d) (?=\d)", line.strip())


def test_the_columns_are_as_documented() -> None:
    header = " ".join(printed(passed()).lines[0].split())
    assert header == "model subgraphs unique cold saved/loaded warm saved/loaded cold s warm s verdict"


def test_a_passed_run_has_only_its_row() -> None:
    result = result_of(
        model_entry(expect=[expectation()]),
        cold_record(counters={SUBGRAPHS: 9}, seconds=22.04),
        warm_record(seconds=4.26),
    )
    paper = printed(result)
    assert paper.lines[1].split() == ["tiny", "9", "3", "3", "/", "0", "0", "/", "3", "22.0", "4.3", "passed"]
    assert len(paper.lines) == 2


def test_models_have_one_row_each_in_order() -> None:
    lines = printed(*ALL).lines
    assert [line.split()[0] for line in lines[1 : 1 + len(ALL)]] == [result.case.model_id for result in ALL]
    for line, result in zip(lines[1:], ALL, strict=False):
        assert line.rstrip().endswith(result.verdict.status)


def test_a_counter_missing_from_this_version_is_a_question_mark() -> None:
    assert printed(passed()).lines[1].split()[1] == "?"


def test_an_unfinished_start_has_no_numbers() -> None:
    assert cells(printed(crashed()).lines[1]) == ["crashes", "12.5", "error"]


def test_a_failure_has_both_numbers_and_the_reproduce_command() -> None:
    text = printed(failed()).text
    assert "cold: vllm.num_compiled_artifacts_saved expected 3, got 4" in text
    assert "cold start saved 4 artifacts (expected at most 3" in text
    assert "  reproduce: coldwarm run fails --device cpu\n" in text


def test_the_reproduce_command_has_the_environment_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_OF_NOW", "1")
    text = printed(crashed(environment={"VLLM_THEN": "1"})).text
    assert "reproduce: VLLM_THEN=1 coldwarm run crashes" in text


@pytest.mark.parametrize("result", [failed(), fixed(), crashed()], ids=lambda result: result.case.model_id)
def test_failed_runs_have_the_reproduce_command(result: RunResult) -> None:
    assert f"  reproduce: coldwarm run {result.case.model_id} --device cpu\n" in printed(result).text


@pytest.mark.parametrize("result", [known(), unsupported()], ids=lambda result: result.case.model_id)
def test_accepted_runs_have_only_the_reason(result: RunResult) -> None:
    text = printed(result).text
    assert "reproduce:" not in text
    assert result.verdict.reasons[0] in text


def test_an_unexpectedly_fixed_model_has_a_hint_what_to_remove() -> None:
    assert "remove it from the catalog (https://example.org/issues/1)" in printed(fixed()).text


def test_a_crash_is_shown_with_the_last_lines_of_the_log() -> None:
    failure = Failure(what="OSError: no", phase="weights", log_tail=[f"line {n}" for n in range(20)])
    text = printed(crashed(failure=failure)).text
    assert "cold.log: line 19" in text
    assert "cold.log: line 11\n" not in text
    assert "the cold start crashed in phase 'weights': OSError: no" in text


def test_a_crash_of_the_warm_start_shows_the_warm_log() -> None:
    warm = unfinished_record(kind=warm_record().kind, failure=Failure(what="x", log_tail=["hello"]))
    assert "warm.log: hello" in printed(result_of(model_entry(), cold_record(), warm)).text


def test_text_of_a_log_is_shown_literally() -> None:
    tail = ["[/red] [bold]x[/bold] a.py:100: :warning: [link=http://x]"]
    assert tail[0] in printed(crashed(failure=Failure(what="[/b] :x:", log_tail=tail))).text
    assert "[/b] :x:" in printed(crashed(failure=Failure(what="[/b] :x:"))).text


def test_long_lines_are_not_broken() -> None:
    reason = "word " * 60
    assert reason.strip() in printed(crashed(failure=Failure(what=reason)), width=80).text


def test_verdicts_fit_a_terminal_of_80_columns() -> None:
    [row] = [line for line in printed(fixed("llama-3.1-8b"), width=80).lines[:4] if line.startswith("llama-3.1-8b ")]
    assert row.rstrip().endswith("unexpectedly fixed")
    assert len(row) <= 80


EXPLANATION = Explanation(findings=[finding(), finding(what="[/x] :x:", where=None)], notes=["no trace"])


@pytest.mark.parametrize("result", [failed(), fixed(), crashed(), known()], ids=lambda result: result.case.model_id)
def test_findings_are_printed_in_short_below_the_reasons(result: RunResult) -> None:
    lines = printed(replace(result, explanation=EXPLANATION)).lines
    first = lines.index("  why: the key is another one (18.9 s per warm start)")
    assert lines[first + 1 : first + 3] == [
        "       at model.py:7: x = y",
        "  why: [/x] :x: (18.9 s per warm start)",
    ]
    assert lines[first - 1].startswith(("  - ", "    log: "))
    assert not any("seed: 0 -> 1" in line for line in lines)


@pytest.mark.parametrize("result", [failed(), crashed(), known()], ids=lambda result: result.case.model_id)
def test_an_explanation_without_findings_adds_nothing(result: RunResult) -> None:
    assert printed(replace(result, explanation=Explanation())).text == printed(result).text


def test_a_passed_run_does_not_show_findings() -> None:
    assert printed(replace(passed(), explanation=EXPLANATION)).text == printed(passed()).text


def test_long_findings_are_not_broken() -> None:
    what = "word " * 60 + "end"
    explanation = Explanation(findings=[finding(what=what)])
    assert f"  why: {what} (" in printed(replace(failed(), explanation=explanation), width=80).text
