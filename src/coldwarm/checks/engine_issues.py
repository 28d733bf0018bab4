"""Recognizes known issues of the engine, in any model, by the finding that explains them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from coldwarm.catalog.engine_issues import EngineIssue, engine_issues
from coldwarm.checks.invariants import Starts
from coldwarm.checks.known_issues import IssueSeen, accept_without_kernels
from coldwarm.core.checks import Check
from coldwarm.core.conditions import RunContext
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.model_entry import Expectation
from coldwarm.engines.base import load_vocabulary


def accept_engine_issues(
    checks: list[Check],
    starts: Starts,
    applied: Sequence[Expectation],
    context: RunContext,
    findings: Sequence[Finding] | None,
) -> list[IssueSeen]:
    """Mark the failures among `checks` that known issues of the engine accept, and return the issues seen.

    An issue accepts artifacts above the limit only if its findings account for all of them, misses in AOTAutograd's
    cache likewise, and kernels only if its findings, together with those of other issues, account for each kernel with
    all of its keys.

    Args:
        checks: The checked invariants; known issues of the model have already accepted theirs.
        starts: The starts.
        applied: The expectations that apply to the run. If one was measured with an issue that no longer occurs, this
            is reported.
        context: What the cold start ran on.
        findings: The findings that explain the run; None: it was not explained, so no issue can be recognized.
    """
    seen = []
    explained: dict[str, list[tuple[EngineIssue, Sequence[Finding]]]] = {}
    for issue in engine_issues():
        check = next((check for check in checks if check.id == issue.breaks), None)
        if check is None or not issue.when.matches(context):
            continue
        showing = [finding for finding in findings or () if issue.finding.matches(finding)]
        rows = [row for row in applied if issue.id in row.shows]
        if check.holds or not _concerns(issue, check):
            if rows and not showing:
                seen.append(_seen(issue, shows=False, message=f"no longer occurs: {check.words}"))
        elif check.accepted_by is not None or (check.accepted_in_part_by and not issue.is_about_kernels):
            continue
        elif findings is None:
            seen.append(_seen(issue, message="cannot be recognized, because the run was not explained"))
        elif showing:
            if issue.is_about_kernels:
                explained.setdefault(check.id, []).append((issue, showing))
                continue
            if issue.finding.kind is FindingKind.COMPILED_OUTSIDE:
                problem = _unaccounted_misses(check, showing)
            else:
                problem = _unaccounted(check, starts, rows, showing)
            if problem is None:
                accept_without_kernels(check, issue.id)
            seen.append(_seen(issue, message=problem or check.words))
    for check in checks:
        if check.id in explained:
            seen += _accept_kernels(check, explained[check.id])
    return seen


def _concerns(issue: EngineIssue, check: Check) -> bool:
    """Return whether the part of a failure that an issue may accept occurred: kernels, or something else."""
    return bool(check.kernels) if issue.is_about_kernels else check.is_broken_otherwise


def _accept_kernels(check: Check, issues: Sequence[tuple[EngineIssue, Sequence[Finding]]]) -> list[IssueSeen]:
    """Accept the kernels of a failure if the findings of `issues` account for all of them, and return the issues."""
    accounted: Counter[str] = Counter()
    for finding in {id(finding): finding for _, showing in issues for finding in showing}.values():
        accounted[finding.kernel or ""] += finding.keys
    left = [
        f"{label} ({accounted[label]} of {keys} {'key' if keys == 1 else 'keys'})"
        for label, keys in check.kernels.items()
        if accounted[label] != keys
    ]
    problem = f"does not account for all kernels that were compiled: {', '.join(left)}" if left else None
    if problem is None and (check.only_kernels or check.accepted_in_part_by):
        check.accepted_by, *check.accepted_in_part_by = [*check.accepted_in_part_by, *(issue.id for issue, _ in issues)]
    elif problem is None:
        problem = "accounts only for the kernels that were compiled"
    return [_seen(issue, message=problem or check.words) for issue, _ in issues]


def _unaccounted(check: Check, starts: Starts, rows: Sequence[Expectation], showing: Sequence[Finding]) -> str | None:
    """Describe what the findings leave unexplained; None if they account for all artifacts above the limit."""
    over, extra = check.artifacts_over_limit, sum(finding.extra_artifacts for finding in showing)
    if extra == 0:
        # Stored before findings had this number: the count must be the one that was measured with the issue.
        name = load_vocabulary(starts.cold.engine).saved
        if any(row.cold.get(name) == starts.cold_stats.saved for row in rows):
            return None
        return f"occurs, but the explanation does not say how many artifacts it accounts for ({over} above the limit)"
    if extra == over:
        return None
    return f"accounts for {extra} {'artifact' if extra == 1 else 'artifacts'}, but the limit is exceeded by {over}"


def _unaccounted_misses(check: Check, showing: Sequence[Finding]) -> str | None:
    """Describe what the findings leave unexplained; None if they account for every miss in AOTAutograd's cache."""
    misses = sum(finding.misses for finding in showing)
    if check.misses == 0:
        return "accounts only for misses in AOTAutograd's cache, and torch.compile generated code"
    return None if misses == check.misses else f"accounts for {misses} of {check.misses} misses in AOTAutograd's cache"


def _seen(issue: EngineIssue, *, message: str, shows: bool = True) -> IssueSeen:
    return IssueSeen(
        id=issue.id,
        title=issue.title,
        link=issue.link,
        shows=shows,
        words=message,
        stated_in="`shows` in the model's expectation",
    )
