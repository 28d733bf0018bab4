from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from coldwarm.checks.verdict import Verdict
from coldwarm.core.case import Case
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.report.exporters import render
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.result import RunResult
from tests.support.explanations import finding
from tests.support.repeated import repeated
from tests.support.runs import crashed, failed, fixed, known, passed, unsupported


def to_json(results: list[RunResult]) -> str:
    return render("json", SuiteSummary.of(results))


ALL = [passed(), known(), unsupported(), failed(), fixed(), crashed()]


def record(data: Any) -> StartRecord | None:
    return StartRecord.model_validate(data) if data else None


def test_results_are_the_same_after_json() -> None:
    runs = json.loads(to_json(ALL))["runs"]
    back = [
        RunResult(
            Case.model_validate(run["case"]),
            record(run["cold"]),
            record(run["warm"]),
            Verdict.model_validate(run["verdict"]),
        )
        for run in runs
    ]
    assert back == ALL
    assert [run["model"] for run in runs] == [result.case.model_id for result in ALL]


@pytest.mark.parametrize(("results", "code"), [([passed()], 0), ([passed(), failed()], 1), (ALL, 3), ([], 0)])
def test_the_exit_code_is_included(results: list[RunResult], code: int) -> None:
    assert json.loads(to_json(results))["exit_code"] == code


def test_the_output_is_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    result = passed()
    result.case.config["time_step_limit"] = [0.0, float("inf")]
    json.loads(to_json([result]), parse_constant=refuse)


def test_explanations_are_the_same_after_json_and_null_if_there_is_none() -> None:
    explanation = Explanation(findings=[finding(what="[/x] \x1b \u2028")], notes=["no trace"])
    runs = json.loads(to_json([replace(failed(), explanation=explanation), passed()]))["runs"]
    assert Explanation.model_validate(runs[0]["explanation"]) == explanation
    assert runs[1]["explanation"] is None


def test_findings_do_not_change_the_exit_code() -> None:
    result = replace(passed(), explanation=Explanation(findings=[finding()]))
    assert json.loads(to_json([result]))["exit_code"] == 0


def test_all_repetitions_are_included() -> None:
    result = repeated([20.0, 21.0])
    [run] = json.loads(to_json([result]))["runs"]
    assert run["repetition"] == 1
    assert [record(each["cold"]) for each in run["repetitions"]] == [each.cold for each in result.repetitions]
    assert [each["verdict"]["status"] for each in run["repetitions"]] == ["passed", "passed"]
    assert json.loads(to_json([passed()]))["runs"][0]["repetitions"] == []
