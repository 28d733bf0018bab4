"""A suite's results as JUnit XML, a test case a model."""

from __future__ import annotations

import re
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from coldwarm.checks.verdict import Status
from coldwarm.core.finding import Finding
from coldwarm.report.explanation_view import finding_lines
from coldwarm.report.files import remove_stale, write_report
from coldwarm.suite.result import RunResult

# What XML 1.0 cannot hold, and the colours of a terminal.
_NOT_XML = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, results: list[RunResult]) -> None:
    """Write `results` to `path`.

    A known issue counts as skipped, as pytest reports an expected failure.

    Raises:
        UsageError: The file cannot be written.
    """
    remove_stale(path)
    suite = TestSuite("coldwarm")
    suite.add_testcases([_case(result) for result in results])
    xml = JUnitXml()
    xml.add_testsuite(suite)
    write_report(path, lambda file: xml.write(str(file), pretty=True))


def _case(result: RunResult) -> TestCase:
    verdict = result.verdict
    seconds = sum(record.seconds for record in (result.cold, result.warm) if record)
    case = TestCase(result.case.name, f"coldwarm.{result.case.device}.{result.case.compilation}", seconds)
    reason = _as_xml(verdict.reasons[0]) if verdict.reasons else ""
    match verdict.status:
        case Status.FAILED | Status.UNEXPECTEDLY_FIXED:
            outcome: Failure | Error | Skipped | None = Failure(reason, verdict.status)
        case Status.ERROR:
            outcome = Error(reason, verdict.status)
        case Status.KNOWN_ISSUE | Status.UNSUPPORTED:
            outcome = Skipped(f"{verdict.status}: {reason}", verdict.status)
        case _:
            outcome = None
    if outcome is not None:
        log = next((r.failure.log_tail for r in (result.cold, result.warm) if r and r.failure), [])
        evidence = [f"log: {line}" for check in verdict.checks if not check.holds for line in check.evidence]
        why = [line for finding in _findings(result) for line in finding_lines(finding)]
        outcome.text = _as_xml("\n".join([*verdict.reasons, *why, *evidence, f"again: {result.again}", *log]))
        case.result = [outcome]
    checks = [
        f"{('ok' if check.is_checked else '- ') if check.holds else 'NO'}  {check.words}" for check in verdict.checks
    ]
    case.system_out = _as_xml("\n".join([*checks, *(f"note: {note}" for note in verdict.notes)]))
    return case


def _findings(result: RunResult) -> list[Finding]:
    return result.explanation.findings if result.explanation else []


def _as_xml(text: str) -> str:
    return _NOT_XML.sub("", text)
