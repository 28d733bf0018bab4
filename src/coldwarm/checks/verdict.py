"""Judges one run: a pure function of its start records, its findings, and the catalog entry."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, Field

from coldwarm.checks.engine_issues import accept_engine_issues
from coldwarm.checks.expectations import applicable, check_expectations, unchecked_expectations
from coldwarm.checks.invariants import NOT_COMPILED, Starts, applicable_invariants, check_invariants
from coldwarm.checks.isolation import cold_is_cold, isolation_notes, shared_caches
from coldwarm.checks.kernels import unseen_compilers
from coldwarm.checks.known_issues import IssueSeen, accept_known_issues, unchecked_issues
from coldwarm.checks.late_functions import compiled_on_request
from coldwarm.checks.run_context import context_of as context_of
from coldwarm.checks.run_context import ineffective_settings
from coldwarm.checks.unobserved import unobserved
from coldwarm.core.checks import Check
from coldwarm.core.conditions import RunContext
from coldwarm.core.crash_cause import CrashCause, CrashKind
from coldwarm.core.finding import Finding
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.issue_reference import reference
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import Outcome, StartKind, StartRecord
from coldwarm.engines.base import load_vocabulary


class Status(StrEnum):
    """The status of a run."""

    PASSED = "passed"
    FAILED = "failed"
    KNOWN_ISSUE = "known issue"
    UNEXPECTEDLY_FIXED = "unexpectedly fixed"
    UNSUPPORTED = "unsupported"
    ERROR = "error"


class Verdict(BaseModel):
    """The verdict on a run, with its reasons."""

    status: Status
    reasons: list[str] = Field(default_factory=list)
    """Why the status is not `passed`; one message for each cause."""
    notes: list[str] = Field(default_factory=list)
    """Messages that do not change the status."""
    crash_cause: CrashCause | None = None
    """Why the cold start crashed, if the engine's error states it. None: it did not crash, or the cause is not one that
    coldwarm knows."""
    checks: list[Check] = Field(default_factory=list)
    issues: list[IssueSeen] = Field(default_factory=list)
    repetition: int = Field(default=1, ge=1)
    """On a run that was repeated: the repetition that has this verdict."""

    @property
    def accepting(self) -> set[str]:
        """The ids of the known issues that accept a failure."""
        return {name for check in self.checks for name in check.accepting}


def judge(
    entry: ModelEntry,
    cold: StartRecord | None,
    warm: StartRecord | None,
    findings: Sequence[Finding] | None = None,
) -> Verdict:
    """Judge a run by its records; without records, the run was not executed.

    Args:
        entry: The model's entry.
        cold: The cold start.
        warm: The warm start; None at a depth without one.
        findings: The findings that explain the run, which identify known issues of the engine; None: it was not
            explained.
    """
    if cold is not None and cold.outcome is not Outcome.FINISHED:
        return _unfinished_cold_start(cold, entry)
    if warm is not None and warm.outcome is not Outcome.FINISHED:
        return Verdict(status=Status.ERROR, reasons=[_why_unfinished(warm)])
    if cold is None:
        return Verdict(status=Status.ERROR, reasons=["the cold start was not run"])
    if warm is None and cold.depth.level.has_artifacts:
        return Verdict(status=Status.ERROR, reasons=["the warm start was not run"])
    if problem := _not_of_one_run(cold, warm) or shared_caches(cold, warm):
        return Verdict(status=Status.ERROR, reasons=[problem])
    starts = Starts(cold, warm, entry)
    context = context_of(cold)
    checks = check_invariants(starts)
    issues = accept_known_issues(checks, starts, entry, context)
    issues += accept_engine_issues(checks, starts, applicable(entry, context), context, findings)
    checks = [cold_is_cold(check, cold) for check in checks]
    expectations = check_expectations(starts, entry, context)
    checks += expectations
    broken = [check for check in checks if not check.holds and check.accepted_by is None]
    fixed = [issue for issue in issues if not issue.shows]
    accepting = {name for check in checks for name in check.accepting}
    accepted = [issue for issue in issues if issue.id in accepting]
    if any(check.id in set(InvariantId) for check in broken) or (broken and not fixed):
        status, reasons = Status.FAILED, [check.words for check in broken]
        reasons += [f"{issue.id}: {issue.words}" for issue in issues if issue not in accepted]
    elif fixed:
        # The expectations were measured with the issue, so they may fail without it. Report them nevertheless.
        status = Status.UNEXPECTEDLY_FIXED
        reasons = [
            f"{issue.id}: {issue.words}; remove it from {issue.stated_in} ({reference(issue, quoted=True)})"
            for issue in fixed
        ]
        reasons += [check.words for check in broken]
    elif accepted:
        status, reasons = Status.KNOWN_ISSUE, [f"{issue.title} ({reference(issue)})" for issue in accepted]
    elif starts.why_not_compiled is not None and not cold.depth.level.has_kernels:
        status, reasons = Status.UNSUPPORTED, [_nothing_to_check(starts.why_not_compiled, cold)]
    else:
        status, reasons = Status.PASSED, []
    return Verdict(
        status=status,
        reasons=reasons,
        notes=[check.words for check in checks if not check.is_checked]
        + _notes(starts, context, expectations)
        + unseen_compilers(cold, warm)
        + ineffective_settings(cold, warm)
        + isolation_notes(cold, warm)
        + unobserved(cold, warm)
        + compiled_on_request(cold),
        checks=checks,
        issues=issues,
    )


def unsupported(reason: str) -> Verdict:
    """Return the verdict on a model that the device cannot run."""
    return Verdict(status=Status.UNSUPPORTED, reasons=[reason])


def _unfinished_cold_start(cold: StartRecord, entry: ModelEntry) -> Verdict:
    cause = load_vocabulary(cold.engine).crash_cause(cold)
    why = _why_unfinished(cold)
    if cause is None:
        return Verdict(status=Status.ERROR, reasons=[why])
    if cause.kind is CrashKind.CONFIG:
        return Verdict(status=Status.ERROR, reasons=[str(cause), why], crash_cause=cause)
    if cause.kind is CrashKind.DEVICE and entry.measured(cold.device, None):
        measured = f"the catalog has expectations for {cold.device}, so this model ran there before"
        return Verdict(status=Status.ERROR, reasons=[str(cause), measured, why], crash_cause=cause)
    return Verdict(status=Status.UNSUPPORTED, reasons=[str(cause)], crash_cause=cause)


def _nothing_to_check(reason: str, cold: StartRecord) -> str:
    return f"{NOT_COMPILED} ({reason}), and --depth {cold.depth} compiles no kernels; use --depth full"


def _why_unfinished(record: StartRecord) -> str:
    failure = record.failure
    what = failure.what if failure else str(record.outcome)
    phase = f" in phase {failure.phase!r}" if failure and failure.phase else ""
    return f"the {record.kind} start {record.outcome}{phase}: {what}"


def _not_of_one_run(cold: StartRecord, warm: StartRecord | None) -> str | None:
    """Describe why these records are not the cold and the warm start of one run; None if they are."""
    if cold.facts is None or (warm is not None and warm.facts is None):
        return "the record of a finished start has no facts from the engine"
    if warm is None or warm.facts is None:
        return (
            None
            if cold.kind is StartKind.COLD
            else f"expected the record of a cold start, got that of a {cold.kind} start"
        )
    if (cold.kind, warm.kind) != (StartKind.COLD, StartKind.WARM):
        return f"expected the records of a cold and a warm start, got {cold.kind} and {warm.kind}"
    differing = [
        f"{name} {a} cold, {b} warm"
        for name, a, b in (
            ("engine", cold.engine, warm.engine),
            ("device", cold.device, warm.device),
            ("compilation", cold.compilation, warm.compilation),
            ("depth", cold.depth, warm.depth),
            *((key, cold.facts.versions.get(key), warm.facts.versions.get(key)) for key in ("torch", cold.engine)),
        )
        if a != b
    ]
    return f"the two records are not from the same run: {', '.join(differing)}" if differing else None


def _notes(starts: Starts, context: RunContext, expectations: list[Check]) -> list[str]:
    notes = unchecked_expectations(starts, starts.entry, context)
    if not expectations and not notes and not starts.cold.command:
        names = dict.fromkeys(("torch", starts.cold.engine))
        versions = ", ".join(f"{name} {context.versions.get(name, '?')}" for name in names)
        notes.append(
            f"no expectation for {context.device}, {context.compilation}, {versions}: only the invariants were checked"
        )
    notes += unchecked_issues(starts, starts.entry, context)
    if starts.why_not_compiled is not None:
        notes.append(f"{NOT_COMPILED}: {starts.why_not_compiled}")
    if len(of_cold := starts.ranks()[StartKind.COLD]) > 1:
        notes.append(f"all {len(of_cold)} ranks were checked; the table shows the counts of rank {of_cold[0]}")
    if starts.entry.layer_kinds is None and InvariantId.ONLY_UNIQUE in applicable_invariants(starts):
        kinds, source = starts.layer_kinds()
        notes.append(f"{kinds} layer kind{'' if kinds == 1 else 's'}, {source}")
    return notes
