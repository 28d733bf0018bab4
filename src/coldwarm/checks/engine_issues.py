"""Known issues of the engine, recognized in any model by the finding that explains them."""

from __future__ import annotations

from collections.abc import Sequence

from coldwarm.catalog.engine_issues import EngineIssue, engine_issues
from coldwarm.checks.invariants import Starts
from coldwarm.checks.known_issues import IssueSeen
from coldwarm.core.checks import Check
from coldwarm.core.conditions import Circumstances
from coldwarm.core.finding import Finding
from coldwarm.core.model_entry import Expectation
from coldwarm.engines.base import load_vocabulary


def accept_engine_issues(
    checks: list[Check],
    starts: Starts,
    applied: Sequence[Expectation],
    circumstances: Circumstances,
    findings: Sequence[Finding] | None,
) -> list[IssueSeen]:
    """Mark the failures among `checks` that known issues of the engine accept, and say which issues show.

    An issue accepts a surplus of artifacts only where the findings of this issue account for all of it.

    Args:
        checks: The invariants, checked; known issues of the model have accepted theirs.
        starts: The starts.
        applied: The expectations that apply to the run. Where one was measured with an issue that no longer shows, that
            is reported.
        circumstances: What the cold start ran on.
        findings: What explains the run; None: it is not explained, and nothing is recognized.
    """
    seen = []
    for issue in engine_issues():
        check = next((check for check in checks if check.id == issue.breaks), None)
        if check is None or not issue.when.hold(circumstances):
            continue
        showing = [finding for finding in findings or () if issue.finding.matches(finding)]
        rows = [row for row in applied if issue.id in row.shows]
        if check.holds:
            if rows and not showing:
                seen.append(_seen(issue, shows=False, words=f"no longer shows: {check.words}"))
        elif check.accepted_by is not None:
            continue
        elif findings is None:
            seen.append(_seen(issue, words="cannot be recognized, since the run is not explained"))
        elif showing:
            problem = _unaccounted(check, starts, rows, showing)
            if problem is None:
                check.accepted_by = issue.id
            seen.append(_seen(issue, words=problem or check.words))
    return seen


def _unaccounted(check: Check, starts: Starts, rows: Sequence[Expectation], showing: Sequence[Finding]) -> str | None:
    """Say what the findings do not account for; None where they account for all artifacts above the limit."""
    over, extra = check.artifacts_over_limit, sum(finding.extra_artifacts for finding in showing)
    if extra == 0:
        # Recorded before findings said how many: it must be what was measured with the issue.
        name = load_vocabulary(starts.cold.engine).saved
        if any(row.cold.get(name) == starts.cold_stats.saved for row in rows):
            return None
        return (
            f"shows, but the run's explanation does not say how many artifacts it accounts for ({over} above the limit)"
        )
    if extra == over:
        return None
    return f"accounts for {extra} artifacts above the limit, not for {over}"


def _seen(issue: EngineIssue, *, words: str, shows: bool = True) -> IssueSeen:
    return IssueSeen(
        id=issue.id,
        title=issue.title,
        link=issue.link,
        shows=shows,
        words=words,
        stated_in="`shows` of the model's expectation",
    )
