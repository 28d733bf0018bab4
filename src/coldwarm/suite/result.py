"""A run and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from coldwarm.exit_codes import ExitCode
from coldwarm.starts.case import Case
from coldwarm.starts.record import StartRecord
from coldwarm.verdict.verdict import Status, Verdict, judge, unsupported


@dataclass(frozen=True)
class RunResult:
    """A case, its start records, and the verdict on them."""

    case: Case
    cold: StartRecord | None
    warm: StartRecord | None
    verdict: Verdict

    @classmethod
    def of(cls, case: Case, cold: StartRecord | None, warm: StartRecord | None) -> RunResult:
        """Judge the records of `case`."""
        reason = case.entry.unsupported_on(case.device, case.compilation)
        if cold is None and reason is not None:
            return cls(case, None, None, unsupported(reason.reason))
        return cls(case, cold, warm, judge(case.entry, cold, warm))


def exit_code(results: list[RunResult]) -> ExitCode:
    """The exit code that tells the worst of `results`."""
    statuses = {result.verdict.status for result in results}
    if Status.ERROR in statuses:
        return ExitCode.CRASHED
    if statuses & {Status.FAILED, Status.UNEXPECTEDLY_FIXED}:
        return ExitCode.FAILED
    return ExitCode.HEALTHY
