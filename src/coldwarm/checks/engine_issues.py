"""Recognizes known issues of the engine, in any model, by the finding that explains them."""

from __future__ import annotations

from collections.abc import Sequence

from coldwarm.catalog.engine_issues import EngineIssue, engine_issues
from coldwarm.checks.invariants import Starts
from coldwarm.checks.known_issues import IssueSeen
from coldwarm.core.checks import Check
from coldwarm.core.conditions import RunContext
from coldwarm.core.finding import Finding
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

    An issue accepts artifacts above the limit only if its findings account for all of them.

    Args:
        checks: The checked invariants; known issues of the model have already accepted theirs.
        starts: The starts.
        applied: The expectations that apply to the run. If one was measured with an issue that no longer occurs, this
            is reported.
        context: What the cold start ran on.
        findings: The findings that explain the run; None: it was not explained, so no issue can be recognized.
    """
    seen = []
    for issue in engine_issues():
        check = next((check for check in checks if check.id == issue.breaks), None)
        if check is None or not issue.when.matches(context):
            continue
        showing = [finding for finding in findings or () if issue.finding.matches(finding)]
        rows = [row for row in applied if issue.id in row.shows]
        if check.holds:
            if rows and not showing:
                seen.append(_seen(issue, shows=False, message=f"no longer occurs: {check.words}"))
        elif check.accepted_by is not None:
            continue
        elif findings is None:
            seen.append(_seen(issue, message="cannot be recognized, because the run was not explained"))
        elif showing:
            problem = _unaccounted(check, starts, rows, showing)
            if problem is None:
                check.accepted_by = issue.id
            seen.append(_seen(issue, message=problem or check.words))
    return seen


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


def _seen(issue: EngineIssue, *, message: str, shows: bool = True) -> IssueSeen:
    return IssueSeen(
        id=issue.id,
        title=issue.title,
        link=issue.link,
        shows=shows,
        words=message,
        stated_in="`shows` in the model's expectation",
    )
