from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase

from coldwarm.core import record
from coldwarm.core.errors import UsageError
from coldwarm.diagnose.explanation import Explanation
from coldwarm.report.exporters import Report
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.result import RunResult
from tests.support.explanations import finding
from tests.support.runs import crashed, failed, fixed, known, passed, unsupported


def written(path: Path, *results: RunResult) -> list[TestCase]:
    Report("junit", path).write(SuiteSummary.of(list(results)))
    [suite] = JUnitXml.fromfile(str(path))
    return list(suite)


def only(path: Path, result: RunResult) -> TestCase:
    [case] = written(path, result)
    return case


@pytest.fixture
def xml(tmp_path: Path) -> Path:
    return tmp_path / "reports" / "junit.xml"


def test_every_model_is_a_test_case_with_the_seconds_of_its_starts(xml: Path) -> None:
    cases = written(xml, passed("a"), unsupported("b"))
    assert [(case.name, case.classname, case.time) for case in cases] == [
        ("a", "coldwarm.cpu.piecewise", 25.0),
        ("b", "coldwarm.cpu.piecewise", 0.0),
    ]


@pytest.mark.parametrize(
    ("result", "kind", "status"),
    [
        (failed(), Failure, "failed"),
        (fixed(), Failure, "unexpectedly fixed"),
        (crashed(), Error, "error"),
        (known(), Skipped, "known issue"),
        (unsupported(), Skipped, "unsupported"),
    ],
    ids=str,
)
def test_a_run_that_did_not_pass_is_a_failure_an_error_or_skipped(
    xml: Path, result: RunResult, kind: type[Failure | Error | Skipped], status: str
) -> None:
    [outcome] = only(xml, result).result
    assert type(outcome) is kind
    assert outcome.type == status
    assert result.verdict.reasons[0] in outcome.message
    assert "reproduce: " in outcome.text


def test_a_passed_run_has_its_checks_and_no_outcome(xml: Path) -> None:
    case = only(xml, passed())
    assert case.result == []
    assert "ok    warm start saved 0 artifacts (expected 0)" in case.system_out


def test_outcomes_are_counted(xml: Path) -> None:
    written(xml, passed(), failed(), fixed(), crashed(), known(), unsupported())
    [suite] = JUnitXml.fromfile(str(xml))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (6, 2, 1, 2)


def test_a_failure_has_both_numbers_and_all_checks(xml: Path) -> None:
    case = only(xml, failed())
    [outcome] = case.result
    assert "vllm.num_compiled_artifacts_saved expected 3, got 4" in outcome.text
    assert "FAIL  cold: vllm.num_compiled_artifacts_saved expected 3, got 4" in case.system_out


def test_a_crash_has_its_log(xml: Path) -> None:
    failure = record.Failure(what="ValueError: <&> ]]>", log_tail=["<tag> & ]]> é"])
    [outcome] = only(xml, crashed(failure=failure)).result
    assert "ValueError: <&> ]]>" in outcome.message
    assert "<tag> & ]]> é" in outcome.text


def test_colours_and_control_characters_of_a_log_are_removed(xml: Path) -> None:
    failure = record.Failure(what="\x1b[31mno\x1b[0m", log_tail=["\x1b[31mERROR\x1b[0m", "\x00\x08\x0c\ufffe\udcff"])
    [outcome] = only(xml, crashed(failure=failure)).result
    assert "ERROR" in outcome.text


@settings(max_examples=60, deadline=None)
@given(what=st.text(st.characters(), min_size=1), line=st.text(st.characters()))
def test_the_report_is_readable_with_any_log(what: str, line: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "wild.xml"
    case = only(path, crashed(failure=record.Failure(what=what, log_tail=[line])))
    assert case.name == "crashes"


def test_the_reproduce_command_has_the_environment_of_the_start(xml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `coldwarm judge --report junit=FILE` runs elsewhere and later.
    monkeypatch.setenv("VLLM_OF_NOW", "1")
    [outcome] = only(xml, crashed(environment={"VLLM_THEN": "1"})).result
    assert "VLLM_THEN=1" in outcome.text
    assert "VLLM_OF_NOW" not in outcome.text


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "junit.xml"):
        with pytest.raises(UsageError, match="cannot write"):
            written(path, passed())


EXPLANATION = Explanation(findings=[finding(), finding(what="<&> ]]> [/x]")])


@pytest.mark.parametrize("result", [failed(), fixed(), crashed(), known()], ids=lambda result: result.case.model_id)
def test_findings_are_printed_in_full_between_the_reasons_and_the_command(xml: Path, result: RunResult) -> None:
    [outcome] = only(xml, replace(result, explanation=EXPLANATION)).result
    lines = outcome.text.split("\n")
    assert lines[0] == result.verdict.reasons[0]
    first = lines.index("key changed, warm: the key is another one (18.9 s per warm start)")
    assert lines[first + 1 : first + 6] == [
        "location: model.py:7: x = y",
        "seed: 0 -> 1",
        "evidence: warm.keys.json: config.model: seed = 1",
        "possible fix: keep it",
        "key changed, warm: <&> ]]> [/x] (18.9 s per warm start)",
    ]
    assert first < next(number for number, line in enumerate(lines) if line.startswith("reproduce: "))
    assert outcome.message == only(xml, result).result[0].message


def test_a_passed_run_with_findings_has_no_outcome(xml: Path) -> None:
    assert only(xml, replace(passed(), explanation=EXPLANATION)).result == []


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters()))
def test_the_report_is_readable_with_any_finding(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "wild-findings.xml"
    wild = finding(what=text, where=text, code=text, details=[text], evidence=[{"file": text, "record": text}])
    result = replace(failed(), explanation=Explanation(findings=[wild]))
    [outcome] = only(path, result).result
    assert "reproduce: " in outcome.text


def test_colours_and_control_characters_of_findings_are_removed(xml: Path) -> None:
    wild = finding(what="\x1b[31mno\x1b[0m \x00\x08key", details=["\x0c\ufffe\ud800end"])
    [outcome] = only(xml, replace(failed(), explanation=Explanation(findings=[wild]))).result
    assert "key changed, warm: no key (18.9 s" in outcome.text
    assert "end" in [line.strip() for line in outcome.text.split("\n")]
