"""Whether the starts of a run kept to their own caches, by their records."""

from __future__ import annotations

from collections.abc import Sequence

from coldwarm.core.checks import Check, InvariantId
from coldwarm.core.record import StartRecord

_PATHS_SHOWN = 3


def cold_is_cold(check: Check, cold: StartRecord) -> Check:
    """Return `check`, failed if it says that the `cold` start compiled, and that start used caches of the user's.

    No known issue accepts that: its symptom may come from a warm cache.
    """
    used = {"wrote": cold.outside.caches_written, "read": cold.outside.caches_read}
    if check.id != InvariantId.COMPILES or not any(used.values()):
        return check
    words = " and ".join(f"{verb} {_some(files)}" for verb, files in used.items() if files)
    return check.model_copy(
        update={
            "holds": False,
            "accepted_by": None,
            "words": f"{check.words}; but the start {words}, in caches that are not its own: it may not have been cold",
        }
    )


def shared_caches(*starts: StartRecord | None) -> str | None:
    """Say which of the `starts` wrote to caches that forked starts share; None if none did."""
    for start in starts:
        if start is not None and start.shared_caches_changed:
            return (
                f"the {start.kind} start was forked, and starts forked from the same process share caches: they wrote "
                f"{_some(start.shared_caches_changed)} there; use --isolation spawn"
            )
    return None


def isolation_notes(*starts: StartRecord | None) -> list[str]:
    """Return what is to be known of how the `starts` were isolated, where they were not in every way."""
    made = [start for start in starts if start is not None]
    notes = [
        f"{name} looks like a cache folder that coldwarm does not know: the starts read and write it, so that the cold "
        "start may not have been cold; unset it, and report it to coldwarm"
        for name in dict.fromkeys(name for start in made for name in start.unknown_cache_variables)
    ]
    for start in made:
        seen = {*start.outside.caches_written, *start.outside.written}
        # Of the cold start it is in a check.
        of_caches = [] if start is made[0] else [*start.outside.caches_written, *start.outside.caches_read]
        for what, files in (
            ("used caches that are not its own", of_caches),
            ("wrote outside of its own folders", start.outside.written),
        ):
            if files:
                notes.append(f"the {start.kind} start {what}: {_some(files)}")
        if changed := [file for file in start.changed_outside if file not in seen]:
            notes.append(
                f"in the user's own caches, files changed while the {start.kind} start ran, by that start or by "
                f"others: {_some(changed)}"
            )
    if folders := dict.fromkeys(folder for start in made for folder in start.not_compared):
        notes.append(f"too many files to see whether a start changed any: {_some(list(folders))}")
    return notes


def _some(files: Sequence[str]) -> str:
    more = len(files) - _PATHS_SHOWN
    return ", ".join(files[:_PATHS_SHOWN]) + (f" and {more} more" if more > 0 else "")
