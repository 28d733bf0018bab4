"""A run with its records, its verdict and its explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coldwarm.checks.verdict import Status, Verdict, judge, unsupported
from coldwarm.core.case import Case
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.explanation import Explanation

_SEVERITY = (
    *(Status.PASSED, Status.UNSUPPORTED, Status.KNOWN_ISSUE),
    *(Status.UNEXPECTEDLY_FIXED, Status.FAILED, Status.ERROR),
)
"""From the best to the worst."""


@dataclass(frozen=True)
class Repetition:
    """One cold start and its warm start, with the verdict on them."""

    number: int
    """From 1."""
    cold: StartRecord | None
    warm: StartRecord | None
    verdict: Verdict
    explanation: Explanation | None


@dataclass(frozen=True)
class RunResult:
    """A case, its start records, and the verdict on them.

    If the run was repeated, the records, the explanation and the verdict are those of the repetition with the worst
    verdict, the first of several.
    """

    case: Case
    cold: StartRecord | None
    warm: StartRecord | None
    verdict: Verdict
    explanation: Explanation | None = None
    """None: the run was not executed, or was stored without an explanation."""
    repetitions: tuple[Repetition, ...] = ()
    """All repetitions, in order; empty: it was not repeated."""
    number: int = 1
    """The repetition that the records, the explanation and the verdict are of."""

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

    @classmethod
    def of_repetitions(
        cls, case: Case, starts: Sequence[tuple[StartRecord | None, StartRecord | None, Explanation | None]]
    ) -> RunResult:
        """Judge each repetition of `case`: its cold start, its warm start and its explanation."""
        judged = [cls.of(case, *each) for each in starts]
        if len(judged) == 1:
            return judged[0]
        repetitions = tuple(
            Repetition(number, each.cold, each.warm, each.verdict, each.explanation)
            for number, each in enumerate(judged, 1)
        )
        shown = repetitions[judged.index(worst(judged))]
        return cls(
            case,
            shown.cold,
            shown.warm,
            _of_repetitions(shown, repetitions),
            shown.explanation,
            repetitions,
            shown.number,
        )

    @property
    def records(self) -> list[StartRecord]:
        """The records of all starts, in the order in which they were made."""
        pairs = [(each.cold, each.warm) for each in self.repetitions] or [(self.cold, self.warm)]
        return [record for pair in pairs for record in pair if record is not None]

    @property
    def findings_on_model(self) -> list[Finding]:
        """The findings on the model, without those on the machine; empty: there are none, or it was not explained."""
        findings = self.explanation.findings if self.explanation is not None else []
        return [each for each in findings if each.kind is not FindingKind.IMPORTED_FROM_SOURCE]

    @property
    def reproduce(self) -> str:
        """The shell command that repeats the run."""
        if (record := self.cold or self.warm) is None:
            # Not above: what starts processes is not needed for stored runs.
            from coldwarm.launch.environment import recorded

            return self.case.reproduce(recorded())
        return self.case.reproduce(record.environment, record.isolation)

    @property
    def ok(self) -> bool:
        """Whether the run passed, showed a known issue, or is unsupported on its device."""
        return exit_code([self]) is ExitCode.HEALTHY


class UnhealthyRunsError(Exception):
    """Some runs of a suite failed, crashed or were not started; the message has their reasons."""


@dataclass(frozen=True)
class SuiteResult:
    """The runs of a suite and their verdicts."""

    folder: Path
    """Where the records, logs and traces are stored."""
    runs: list[RunResult]
    """In the order of the models."""
    not_started: list[str] = field(default_factory=list)
    """Names of the runs that had not been started when the suite was ended."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of ``coldwarm run`` and ``coldwarm judge`` for these runs."""
        return ExitCode.CRASHED if self.not_started else exit_code(self.runs)

    @property
    def ok(self) -> bool:
        """Whether each run passed, showed a known issue, or is unsupported on its device: exit code 0."""
        return self.exit_code is ExitCode.HEALTHY

    def raise_for_status(self) -> None:
        """Do nothing if `ok`.

        Raises:
            UnhealthyRunsError: Otherwise.
        """
        if self.ok:
            return
        lines = [f"- {name}: not started" for name in self.not_started]
        for run in self.runs:
            if not run.ok:
                lines.append(f"- {run.case.name}: {run.verdict.status}")
                lines += [f"  {reason}" for reason in run.verdict.reasons]
        number = len(self.not_started) + sum(not run.ok for run in self.runs)
        total = len(self.not_started) + len(self.runs)
        raise UnhealthyRunsError("\n".join([f"{number} of {total} runs are not healthy ({self.folder}):", *lines]))


def _of_repetitions(shown: Repetition, repetitions: Sequence[Repetition]) -> Verdict:
    """Return the verdict on the `shown` repetition, with what the others differ in."""
    verdict = shown.verdict
    if all((each.verdict.status, each.verdict.reasons) == (verdict.status, verdict.reasons) for each in repetitions):
        return verdict
    where = f"in repetition {shown.number} of {len(repetitions)}"
    others = ", ".join(f"{each.number} {each.verdict.status}" for each in repetitions if each is not shown)
    return verdict.model_copy(
        update={
            "repetition": shown.number,
            "reasons": [f"{where}: {reason}" for reason in verdict.reasons],
            "notes": [*verdict.notes, f"the checks are those of repetition {shown.number}; the others: {others}"],
        }
    )


def worst(results: Sequence[RunResult]) -> RunResult:
    """Return the result with the worst verdict, the first of several."""
    return max(results, key=lambda each: _SEVERITY.index(each.verdict.status))


def exit_code(results: list[RunResult]) -> ExitCode:
    """Return the exit code for the worst of `results`."""
    statuses = {result.verdict.status for result in results}
    if Status.ERROR in statuses:
        return ExitCode.CRASHED
    if statuses & {Status.FAILED, Status.UNEXPECTEDLY_FIXED}:
        return ExitCode.FAILED
    return ExitCode.HEALTHY
