"""A suite's results as JUnit XML, a test case a model."""

from __future__ import annotations

from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from coldwarm.errors import UsageError
from coldwarm.suite.result import RunResult
from coldwarm.verdict.verdict import Status


def write_junit(path: Path, results: list[RunResult]) -> None:
    """Write `results` to `path`.

    A known issue counts as skipped, as pytest reports an expected failure.

    Raises:
        UsageError: The file cannot be written.
    """
    suite = TestSuite("coldwarm")
    suite.add_testcases([_case(result) for result in results])
    xml = JUnitXml()
    xml.add_testsuite(suite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        xml.write(str(path), pretty=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _case(result: RunResult) -> TestCase:
    verdict = result.verdict
    seconds = sum(record.seconds for record in (result.cold, result.warm) if record)
    case = TestCase(result.case.model_id, f"coldwarm.{result.case.device}.{result.case.compilation}", seconds)
    reasons = verdict.reasons or [""]
    match verdict.status:
        case Status.FAILED | Status.UNEXPECTEDLY_FIXED:
            outcome: Failure | Error | Skipped | None = Failure(reasons[0], verdict.status)
        case Status.ERROR:
            outcome = Error(reasons[0], verdict.status)
        case Status.KNOWN_ISSUE | Status.UNSUPPORTED:
            outcome = Skipped(f"{verdict.status}: {reasons[0]}", verdict.status)
        case _:
            outcome = None
    if outcome is not None:
        log = next((r.failure.log_tail for r in (result.cold, result.warm) if r and r.failure), [])
        evidence = [f"log: {line}" for check in verdict.checks if not check.holds for line in check.evidence]
        outcome.text = "\n".join([*verdict.reasons, *evidence, f"again: {result.case.reproduce()}", *log])
        case.result = [outcome]
    checks = [f"{'ok' if check.holds else 'NO'}  {check.words}" for check in verdict.checks]
    case.system_out = "\n".join([*checks, *(f"note: {note}" for note in verdict.notes)])
    return case
