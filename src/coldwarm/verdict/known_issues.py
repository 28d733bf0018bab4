"""Known issues: failures that are tracked elsewhere, accepted only as long as they look as described."""

from __future__ import annotations

from pydantic import BaseModel

from coldwarm.catalog.conditions import Circumstances
from coldwarm.catalog.entry import KnownIssue, ModelEntry
from coldwarm.verdict.check import Check
from coldwarm.verdict.invariants import Starts


class IssueSeen(BaseModel):
    """A known issue whose conditions hold, and what the run showed of it."""

    id: str
    title: str
    link: str
    shows: bool
    words: str


def accept_known_issues(
    checks: list[Check], starts: Starts, entry: ModelEntry, circumstances: Circumstances
) -> list[IssueSeen]:
    """Mark the failures among `checks` that known issues accept, and tell which issues show.

    An issue accepts the failures of the invariants that it names: all of them together, and only with the counters
    that it describes.
    """
    seen = []
    for issue in entry.known_issue:
        if not issue.when.hold(circumstances):
            continue
        named = [check for check in checks if check.id in issue.breaks]
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


def _told(checks: list[Check]) -> str:
    return "; ".join(check.words for check in checks)


def _unlike(issue: KnownIssue, starts: Starts) -> list[str]:
    return [
        f"{kind} {name} is {facts.counters.get(name)}, known is {known}"
        for kind, facts, counters in (
            ("cold", starts.cold_facts, issue.cold),
            ("warm", starts.warm_facts, issue.warm),
        )
        for name, known in counters.items()
        if facts.counters.get(name) != known
    ]
