"""Known issues: failures that are tracked elsewhere, accepted only as long as they look as described."""

from __future__ import annotations

from pydantic import BaseModel

from coldwarm.checks.expectations import is_told
from coldwarm.checks.invariants import Starts
from coldwarm.core.cache_files import written_again
from coldwarm.core.checks import Check
from coldwarm.core.conditions import Circumstances
from coldwarm.core.model_entry import KnownIssue, ModelEntry
from coldwarm.core.record import StartKind


class IssueSeen(BaseModel):
    """A known issue whose conditions hold, and what the run showed of it."""

    id: str
    title: str
    link: str
    shows: bool
    words: str
    stated_in: str = "the catalog"
    """Where the issue is stated, to be taken out there once it no longer shows."""


def accept_known_issues(
    checks: list[Check], starts: Starts, entry: ModelEntry, circumstances: Circumstances
) -> list[IssueSeen]:
    """Mark the failures among `checks` that known issues accept, and tell which issues show.

    An issue accepts the failures of the invariants that it names: all of them together, and only with the counters
    and the files written anew that it describes.
    """
    seen = []
    for issue in entry.known_issue:
        if not issue.when.hold(circumstances) or (_is_of_warm(issue) and starts.warm_changes):
            continue
        named = [check for check in checks if check.id in issue.breaks]
        if len(named) < len(issue.breaks) or not _may_show(issue, starts):
            continue
        broken = [check for check in named if not check.holds]
        others = [check.words for check in named if check.holds] + _unlike(issue, starts)
        if not broken and issue.intermittent:
            continue
        if not broken:
            words = f"no longer shows: {_told(named)}"
        elif others:
            words = f"fails in another way than known: {'; '.join(others)}"
        else:
            for check in broken:
                check.accepted_by = issue.id
            words = _told(broken)
        seen.append(IssueSeen(id=issue.id, title=issue.title, link=issue.link, shows=bool(broken), words=words))
    return seen


def unchecked_issues(starts: Starts, entry: ModelEntry, circumstances: Circumstances) -> list[str]:
    """Say which known issues of this platform were not looked for because of the run's settings; a note for each."""
    notes = []
    for issue in entry.known_issue:
        if not issue.when.hold_on_platform(circumstances):
            continue
        if differences := issue.when.other_settings(circumstances):
            notes.append(f"known issue {issue.id} was not looked for: measured {', '.join(differences)}")
        elif _is_of_warm(issue) and starts.warm_changes:
            changes = ", ".join(starts.warm_changes)
            notes.append(f"known issue {issue.id} was not looked for: measured {changes} in the warm start")
    return notes


def _is_of_warm(issue: KnownIssue) -> bool:
    """Whether the issue shows in the warm start."""
    of_warm = any(invariant.startswith("warm-") for invariant in issue.breaks)
    return of_warm or bool(issue.warm) or issue.rewrites is not None


def _may_show(issue: KnownIssue, starts: Starts) -> bool:
    """Whether starts of this depth can show the issue: not where they tell of none of the counters that describe it."""
    described = ((StartKind.COLD, issue.cold), (StartKind.WARM, issue.warm))
    told = [
        is_told(name, starts.cold.depth, starts.counters.get(kind, {})) for kind, names in described for name in names
    ]
    return any(told) or not told


def _told(checks: list[Check]) -> str:
    return "; ".join(check.words for check in checks)


def _unlike(issue: KnownIssue, starts: Starts) -> list[str]:
    unlike = [
        f"{kind} {name} is {counters.get(name)}, known is {known}"
        for kind, described in ((StartKind.COLD, issue.cold), (StartKind.WARM, issue.warm))
        for counters in (starts.counters.get(kind, {}),)
        for name, known in described.items()
        if is_told(name, starts.cold.depth, counters) and counters.get(name) != known
    ]
    if issue.rewrites is not None and not (
        StartKind.WARM in starts.counters
        and written_again(starts.cold.files_written, starts.warm.files_written, issue.rewrites)
    ):
        unlike.append(f"the warm start wrote no {issue.rewrites} anew")
    return unlike
