"""Exports a suite's results as JUnit XML, with a test case for each run."""

from __future__ import annotations

import re
from io import BytesIO

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from coldwarm.checks.verdict import Status
from coldwarm.report.summary import RunSummary, SuiteSummary

# Characters that XML 1.0 does not allow, and terminal colours.
_NOT_XML = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(summary: SuiteSummary) -> str:
    """Return the runs as test cases; a known issue is skipped, as pytest reports an expected failure."""
    suite = TestSuite("coldwarm")
    suite.add_testcases([_test_case(run) for run in summary.runs])
    xml = JUnitXml()
    xml.add_testsuite(suite)
    file = BytesIO()
    xml.write(file, pretty=True)
    return file.getvalue().decode("utf-8")


def _test_case(run: RunSummary) -> TestCase:
    case = TestCase(run.name, f"coldwarm.{run.device}.{run.compilation}", run.seconds)
    reason = _as_xml(run.reasons[0]) if run.reasons else ""
    match run.status:
        case Status.FAILED | Status.UNEXPECTEDLY_FIXED:
            outcome: Failure | Error | Skipped | None = Failure(reason, run.status)
        case Status.ERROR:
            outcome = Error(reason, run.status)
        case Status.KNOWN_ISSUE | Status.UNSUPPORTED:
            outcome = Skipped(f"{run.status}: {reason}", run.status)
        case _:
            outcome = None
    if outcome is not None:
        findings = [line for lines in run.findings for line in lines]
        reproduce = f"reproduce: {run.reproduce}"
        outcome.text = _as_xml("\n".join([*run.reasons, *findings, *run.evidence(), reproduce, *run.log_tail()]))
        case.result = [outcome]
    checks = [f"{check.mark:5} {check.message}" for check in run.checks]
    case.system_out = _as_xml("\n".join([*checks, *(f"note: {note}" for note in run.notes)]))
    return case


def _as_xml(text: str) -> str:
    return _NOT_XML.sub("", text)
