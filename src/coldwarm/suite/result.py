"""A run with its records, its verdict and its explanation."""

from __future__ import annotations

from dataclasses import dataclass

from coldwarm.checks.verdict import Status, Verdict, judge, unsupported
from coldwarm.core.case import Case
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.launch.environment import recorded


@dataclass(frozen=True)
class RunResult:
    """A case, its start records, and the verdict on them."""

    case: Case
    cold: StartRecord | None
    warm: StartRecord | None
    verdict: Verdict
    explanation: Explanation | None = None
    """None: the run was not executed, or was stored without an explanation."""

    @classmethod
    def of(
        cls,
        case: Case,
        cold: StartRecord | None,
        warm: StartRecord | None,
        explanation: Explanation | None = None,
    ) -> RunResult:
        """Judge the records of `case`, using the findings of its explanation."""
        reason = case.entry.unsupported_on(case.device, case.compilation)
        if cold is None and reason is not None:
            return cls(case, None, None, unsupported(reason.reason))
        findings = None if explanation is None or explanation.failed else explanation.findings
        return cls(case, cold, warm, judge(case.entry, cold, warm, findings), explanation)

    @property
    def reproduce(self) -> str:
        """The shell command that repeats the run."""
        if (record := self.cold or self.warm) is None:
            return self.case.reproduce(recorded())
        return self.case.reproduce(record.environment, record.isolation)


def exit_code(results: list[RunResult]) -> ExitCode:
    """Return the exit code for the worst of `results`."""
    statuses = {result.verdict.status for result in results}
    if Status.ERROR in statuses:
        return ExitCode.CRASHED
    if statuses & {Status.FAILED, Status.UNEXPECTEDLY_FIXED}:
        return ExitCode.FAILED
    return ExitCode.HEALTHY
