"""Accepts known issues: failures that are tracked elsewhere, as long as they match their description."""

from __future__ import annotations

from pydantic import BaseModel

from coldwarm.checks.expectations import is_reported_at
from coldwarm.checks.invariants import Starts
from coldwarm.core.cache_files import rewritten_files
from coldwarm.core.checks import Check
from coldwarm.core.conditions import RunContext
from coldwarm.core.model_entry import KnownIssue, ModelEntry
from coldwarm.core.record import StartKind


class IssueSeen(BaseModel):
    """A known issue that applies to the run, and whether it occurred."""

    id: str
    title: str
    link: str
    shows: bool
    words: str
    stated_in: str = "the catalog"
    """Where the issue is declared, and is to be removed once it no longer occurs."""


def accept_known_issues(checks: list[Check], starts: Starts, entry: ModelEntry, context: RunContext) -> list[IssueSeen]:
    """Mark the failures among `checks` that known issues accept, and return the issues seen.

    An issue accepts the failures of the invariants that it names, but only if all of them fail and the counters and
    rewritten files match its description. It accepts no kernels (`Check.kernels`), which its description cannot name.
    """
    seen = []
    for issue in entry.known_issue:
        if not issue.when.matches(context) or (_is_of_warm(issue) and starts.warm_changes):
            continue
        named = [check for check in checks if check.id in issue.breaks]
        if len(named) < len(issue.breaks) or not _may_show(issue, starts):
            continue
        broken = [check for check in named if check.is_broken_otherwise]
        others = [check.words for check in named if not check.is_broken_otherwise] + _unlike(issue, starts)
        if not broken and issue.intermittent:
            continue
        if not broken:
            message = f"no longer occurs: {_joined(named)}"
        elif others:
            message = f"does not match the known issue: {'; '.join(others)}"
        else:
            for check in broken:
                accept_without_kernels(check, issue.id)
            in_part = any(check.kernels for check in broken)
            message = "accounts for this failure, except for its kernels" if in_part else _joined(broken)
        seen.append(IssueSeen(id=issue.id, title=issue.title, link=issue.link, shows=bool(broken), words=message))
    return seen


def accept_without_kernels(check: Check, issue_id: str) -> None:
    """Mark everything in a failure but its kernels as accepted by a known issue."""
    if check.kernels:
        check.accepted_in_part_by.append(issue_id)
    else:
        check.accepted_by = issue_id


def unchecked_issues(starts: Starts, entry: ModelEntry, context: RunContext) -> list[str]:
    """Return a note for each known issue of this platform that does not apply because of the run's settings."""
    notes = []
    for issue in entry.known_issue:
        if not issue.when.matches_platform(context):
            continue
        if differences := issue.when.other_settings(context):
            notes.append(f"known issue {issue.id} was not considered: it was measured {', '.join(differences)}")
        elif _is_of_warm(issue) and starts.warm_changes:
            changes = ", ".join(starts.warm_changes)
            notes.append(f"known issue {issue.id} was not considered: it was measured {changes} in the warm start")
    return notes


def _is_of_warm(issue: KnownIssue) -> bool:
    """Return whether the issue occurs in the warm start."""
    of_warm = any(invariant.startswith("warm-") for invariant in issue.breaks)
    return of_warm or bool(issue.warm) or issue.rewrites is not None


def _may_show(issue: KnownIssue, starts: Starts) -> bool:
    """Return whether the issue can be seen at this depth; it cannot if none of its counters is meaningful there."""
    described = ((StartKind.COLD, issue.cold), (StartKind.WARM, issue.warm))
    reported = [
        is_reported_at(name, starts.cold.depth, starts.counters.get(kind, {}))
        for kind, names in described
        for name in names
    ]
    return any(reported) or not reported


def _joined(checks: list[Check]) -> str:
    return "; ".join(check.words for check in checks)


def _unlike(issue: KnownIssue, starts: Starts) -> list[str]:
    unlike = [
        f"{kind} {name} is {counters.get(name)} instead of {known}"
        for kind, described in ((StartKind.COLD, issue.cold), (StartKind.WARM, issue.warm))
        for counters in (starts.counters.get(kind, {}),)
        for name, known in described.items()
        if is_reported_at(name, starts.cold.depth, counters) and counters.get(name) != known
    ]
    if issue.rewrites is not None and not (
        StartKind.WARM in starts.counters
        and rewritten_files(starts.cold.files_written, starts.warm.files_written, issue.rewrites)
    ):
        unlike.append(f"the warm start rewrote no {issue.rewrites} file")
    return unlike
