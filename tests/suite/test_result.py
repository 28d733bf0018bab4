from __future__ import annotations

import itertools
from typing import Any

import pytest

from coldwarm.checks.verdict import Status
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.suite.result import RunResult, exit_code
from tests.support.explanations import moe_finding
from tests.support.records import LOADED, SAVED, cold_record, model_entry, warm_record
from tests.support.runs import case_of, crashed, failed, fixed, known, passed, unsupported

SEVERITY = {
    "passed": (passed(), ExitCode.HEALTHY),
    "known": (known(), ExitCode.HEALTHY),
    "unsupported": (unsupported(), ExitCode.HEALTHY),
    "failed": (failed(), ExitCode.FAILED),
    "fixed": (fixed(), ExitCode.FAILED),
    "crashed": (crashed(), ExitCode.CRASHED),
}


@pytest.mark.parametrize(
    ("explanation", "status"),
    [
        (Explanation(findings=[moe_finding()]), Status.KNOWN_ISSUE),
        (Explanation(), Status.FAILED),
        (Explanation(failed=True), Status.FAILED),
        (None, Status.FAILED),
    ],
    ids=["recognized", "no finding", "explaining failed", "not explained"],
)
def test_a_known_issue_of_the_engine_is_recognized_by_its_finding(
    explanation: Explanation | None, status: Status
) -> None:
    cold, warm = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4})
    verdict = RunResult.of(case_of(), cold, warm, explanation).verdict
    assert verdict.status is status
    unexplained = explanation is None or explanation.failed
    assert ("because the run was not explained" in verdict.reasons[-1]) is unexplained


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (passed(), Status.PASSED),
        (known(), Status.KNOWN_ISSUE),
        (unsupported(), Status.UNSUPPORTED),
        (failed(), Status.FAILED),
        (fixed(), Status.UNEXPECTEDLY_FIXED),
        (crashed(), Status.ERROR),
    ],
    ids=str,
)
def test_a_run_is_judged_by_its_records(result: RunResult, status: Status) -> None:
    assert result.verdict.status is status


@pytest.mark.parametrize("name", SEVERITY)
def test_the_exit_code_of_one_run(name: str) -> None:
    result, code = SEVERITY[name]
    assert exit_code([result]) is code


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(SEVERITY, 2)))
def test_the_worse_of_two_runs_determines_the_exit_code(one: str, other: str) -> None:
    worst = max(SEVERITY[one][1], SEVERITY[other][1])
    assert exit_code([SEVERITY[one][0], SEVERITY[other][0]]) is worst
    assert exit_code([SEVERITY[other][0], SEVERITY[one][0]]) is worst


def test_an_unsupported_model_that_ran_anyway_is_judged_by_its_records() -> None:
    entry = model_entry(unsupported=[{"reason": "r", "devices": ["cpu"]}])
    assert RunResult.of(case_of(entry), cold_record(), warm_record()).verdict.status is Status.PASSED


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_that_was_never_started_is_unsupported_or_an_error(device: str) -> None:
    entry = model_entry(unsupported=[{"reason": "no such attention", "devices": ["cpu"]}])
    verdict = RunResult.of(case_of(entry, device=device), None, None).verdict
    assert verdict.status is (Status.UNSUPPORTED if device == "cpu" else Status.ERROR)


OF_A_START: dict[str, Any] = {"environment": {"VLLM_X": "1"}, "isolation": IsolationKind.SPAWN}


@pytest.mark.parametrize(
    ("cold", "warm", "command"),
    [
        (cold_record(), warm_record(), "coldwarm run tiny --device cpu"),
        (cold_record(**OF_A_START), None, "VLLM_X=1 coldwarm run tiny --device cpu --isolation spawn"),
        (None, warm_record(**OF_A_START), "VLLM_X=1 coldwarm run tiny --device cpu --isolation spawn"),
    ],
    ids=["forked", "new interpreters", "no record of the cold start"],
)
def test_the_reproduce_command_has_the_environment_and_the_isolation_of_the_start(
    cold: StartRecord | None, warm: StartRecord | None, command: str
) -> None:
    assert RunResult.of(case_of(model_entry()), cold, warm).reproduce == command


def test_without_a_start_the_reproduce_command_has_the_current_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_X", "2")
    assert "VLLM_X=2 " in RunResult.of(case_of(model_entry()), None, None).reproduce
