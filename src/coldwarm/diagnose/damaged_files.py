"""Explains cached files that are not as the cold start left them."""

from __future__ import annotations

from coldwarm.core.cache_files import FileChange
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import record_name

_ADVICE = {
    "missing": "find out what removes files from the cache between the starts, or does not copy all of them",
    "new": "find out what else writes to the cache between the starts",
}
_ADVICE_ON_CONTENT = "delete the cache and start cold again; a full disk or an interrupted copy leaves such files"


def damage_finding(change: FileChange, failures: list[LoadFailure], *, is_unnoticed: bool = False) -> Finding:
    """Explain one file that is not as the cold start left it, and the consequence.

    Args:
        change: How the file differs.
        failures: What the engine could not load.
        is_unnoticed: Whether the engine did not notice.
    """
    failure = next((each for each in failures if each.path.endswith(change.path)), failures[0] if failures else None)
    return Finding(
        kind=FindingKind.CACHE_DAMAGED,
        start=StartKind.WARM,
        what=f"a cached file {change.describe()}: {change.path}" + _consequence(failure, is_unnoticed=is_unnoticed),
        evidence=[
            Evidence(file=record_name(StartKind.WARM), record=f"caches_changed: {change.path}: {change.how}"),
            *([failure.evidence()] if failure else []),
        ],
        next=_ADVICE.get(change.how, _ADVICE_ON_CONTENT),
    )


def _consequence(failure: LoadFailure | None, *, is_unnoticed: bool) -> str:
    if failure is not None:
        return f"; the engine could not load it: {failure.headline()}"
    return "; the engine did not notice, and recompiled nothing" if is_unnoticed else ""
