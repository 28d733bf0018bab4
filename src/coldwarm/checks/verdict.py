"""The verdict on one run: a pure function of its start records, what explains them, and the catalog entry."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, Field

from coldwarm.checks.engine_issues import accept_engine_issues
from coldwarm.checks.expectations import applicable, check_expectations, unchecked_expectations
from coldwarm.checks.invariants import Starts, check_invariants
from coldwarm.checks.isolation import cold_is_cold, isolation_notes, shared_caches
from coldwarm.checks.known_issues import IssueSeen, accept_known_issues, unchecked_issues
from coldwarm.checks.run_context import circumstances_of as circumstances_of
from coldwarm.checks.run_context import ineffective_settings
from coldwarm.checks.unobserved import unobserved
from coldwarm.core.checks import Check, InvariantId
from coldwarm.core.conditions import Circumstances
from coldwarm.core.depth import Depth
from coldwarm.core.finding import Finding
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import Outcome, StartKind, StartRecord


class Status(StrEnum):
    """A run's verdict in a word."""

    PASSED = "passed"
    FAILED = "failed"
    KNOWN_ISSUE = "known issue"
    UNEXPECTEDLY_FIXED = "unexpectedly fixed"
    UNSUPPORTED = "unsupported"
    ERROR = "error"


class Verdict(BaseModel):
    """What a run means."""

    status: Status
    reasons: list[str] = Field(default_factory=list)
    """Why it is not `passed`, in words, one a cause."""
    notes: list[str] = Field(default_factory=list)
    """What one should know of it all the same."""
    checks: list[Check] = Field(default_factory=list)
    issues: list[IssueSeen] = Field(default_factory=list)


def judge(
    entry: ModelEntry,
    cold: StartRecord | None,
    warm: StartRecord | None,
    findings: Sequence[Finding] | None = None,
) -> Verdict:
    """Judge a run by its records; without any, a run that was not made (unsupported, or stopped before).

    Args:
        entry: The model's entry.
        cold: The cold start.
        warm: The warm start; None at the depth that has none.
        findings: What explains the run, by which known issues of the engine are recognized; None: it is not explained.
    """
    for record in (cold, warm):
        if record is not None and record.outcome is not Outcome.FINISHED:
            return Verdict(status=Status.ERROR, reasons=[_why_unfinished(record)])
    if cold is None:
        return Verdict(status=Status.ERROR, reasons=["the cold start was not made"])
    if warm is None and cold.depth is not Depth.TRACE:
        return Verdict(status=Status.ERROR, reasons=["the warm start was not made"])
    if problem := _not_of_one_run(cold, warm) or shared_caches(cold, warm):
        return Verdict(status=Status.ERROR, reasons=[problem])
    starts = Starts(cold, warm, entry)
    circumstances = circumstances_of(cold)
    checks = check_invariants(starts)
    issues = accept_known_issues(checks, starts, entry, circumstances)
    issues += accept_engine_issues(checks, starts, applicable(entry, circumstances), circumstances, findings)
    checks = [cold_is_cold(check, cold) for check in checks]
    expectations = check_expectations(starts, entry, circumstances)
    checks += expectations
    broken = [check for check in checks if not check.holds and check.accepted_by is None]
    fixed = [issue for issue in issues if not issue.shows]
    accepted = [issue for issue in issues if any(check.accepted_by == issue.id for check in checks)]
    if any(check.id in set(InvariantId) for check in broken) or (broken and not fixed):
        status, reasons = Status.FAILED, [check.words for check in broken]
        reasons += [f"{issue.id}: {issue.words}" for issue in issues if issue not in accepted]
    elif fixed:
        # The expectations were measured with the issue, so that they may break with it; they are told all the same.
        status = Status.UNEXPECTEDLY_FIXED
        reasons = [f"{issue.id}: {issue.words}; take it out of {issue.stated_in} ({issue.link})" for issue in fixed]
        reasons += [check.words for check in broken]
    elif accepted:
        status, reasons = Status.KNOWN_ISSUE, [f"{issue.title} ({issue.link})" for issue in accepted]
    else:
        status, reasons = Status.PASSED, []
    return Verdict(
        status=status,
        reasons=reasons,
        notes=[check.words for check in checks if not check.is_checked]
        + _notes(starts, circumstances, expectations)
        + ineffective_settings(cold, warm)
        + isolation_notes(cold, warm)
        + unobserved(cold, warm),
        checks=checks,
        issues=issues,
    )


def unsupported(reason: str) -> Verdict:
    """The verdict on a model that the device cannot run."""
    return Verdict(status=Status.UNSUPPORTED, reasons=[reason])


def _why_unfinished(record: StartRecord) -> str:
    failure = record.failure
    what = failure.what if failure else str(record.outcome)
    phase = f" in phase {failure.phase!r}" if failure and failure.phase else ""
    return f"the {record.kind} start {record.outcome}{phase}: {what}"


def _not_of_one_run(cold: StartRecord, warm: StartRecord | None) -> str | None:
    """Say why these records are not the cold and the warm start of one run; None where they are."""
    if cold.facts is None or (warm is not None and warm.facts is None):
        return "a record of a finished start lacks what the engine knew of it"
    if warm is None or warm.facts is None:
        return None if cold.kind is StartKind.COLD else f"the record is not of a cold start, but of a {cold.kind} one"
    if (cold.kind, warm.kind) != (StartKind.COLD, StartKind.WARM):
        return f"the two records are not a cold and a warm start, but {cold.kind} and {warm.kind}"
    differing = [
        f"{name} {a} cold, {b} warm"
        for name, a, b in (
            ("engine", cold.engine, warm.engine),
            ("device", cold.device, warm.device),
            ("compilation", cold.compilation, warm.compilation),
            ("depth", cold.depth, warm.depth),
            *((key, cold.facts.versions.get(key), warm.facts.versions.get(key)) for key in ("torch", "vllm")),
        )
        if a != b
    ]
    return f"the two records are not of one run: {', '.join(differing)}" if differing else None


def _notes(starts: Starts, circumstances: Circumstances, expectations: list[Check]) -> list[str]:
    notes = unchecked_expectations(starts, starts.entry, circumstances)
    if not expectations and not notes:
        versions = ", ".join(f"{name} {circumstances.versions.get(name, '?')}" for name in ("torch", "vllm"))
        notes.append(
            f"no expectation for {circumstances.device}, {circumstances.compilation}, {versions}: "
            "judged by the invariants alone"
        )
    notes += unchecked_issues(starts, starts.entry, circumstances)
    if len(of_cold := starts.ranks()[StartKind.COLD]) > 1:
        notes.append(f"{len(of_cold)} ranks, each checked; counts in the table are those of rank {of_cold[0]}")
    if starts.entry.layer_kinds is None:
        kinds, source = starts.layer_kinds()
        notes.append(f"{kinds} kind{'' if kinds == 1 else 's'} of layers, {source}")
    return notes
