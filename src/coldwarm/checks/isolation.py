"""Checks, from their records, whether the starts of a run used only their own caches."""

from __future__ import annotations

from collections.abc import Sequence

from coldwarm.core.checks import Check
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.record import StartRecord

_PATHS_SHOWN = 3


def cold_is_cold(check: Check, cold: StartRecord) -> Check:
    """Return `check`; if it is `InvariantId.COMPILES` and the `cold` start used caches of the user, it fails.

    No known issue accepts this failure: the issue's symptom may come from a warm cache.
    """
    used = {"wrote": cold.outside.caches_written, "read": cold.outside.caches_read}
    if check.id != InvariantId.COMPILES or not any(used.values()):
        return check
    uses = " and ".join(f"{verb} {_some(files)}" for verb, files in used.items() if files)
    return check.model_copy(
        update={
            "holds": False,
            "accepted_by": None,
            "words": f"{check.words}; it {uses} in caches that are not its own, so it may not have been cold",
        }
    )


def shared_caches(*starts: StartRecord | None) -> str | None:
    """Describe the first of the `starts` that changed caches shared by forked starts; None if none did."""
    for start in starts:
        if start is not None and start.shared_caches_changed:
            return (
                f"the {start.kind} start was forked, and caches that forked starts share were changed: "
                f"{_some(start.shared_caches_changed)}; use --isolation spawn"
            )
    return None


def isolation_notes(*starts: StartRecord | None) -> list[str]:
    """Return a note for each way in which the `starts` were not isolated."""
    existing = [start for start in starts if start is not None]
    notes = [
        f"{name} looks like a cache folder that coldwarm does not know. Both starts use it, so the cold start may not "
        f"have been cold. Unset {name}, and report it to the coldwarm project"
        for name in dict.fromkeys(name for start in existing for name in start.unknown_cache_variables)
    ]
    notes += [
        f"starts could not be forked, so each imports the engine again: {why}"
        for why in dict.fromkeys(start.not_forked for start in existing if start.not_forked)
    ]
    for start in existing:
        seen = {*start.outside.caches_written, *start.outside.written}
        # For the cold start, this is in a check.
        of_caches = [] if start is existing[0] else [*start.outside.caches_written, *start.outside.caches_read]
        for what, files in (
            ("used caches that are not its own", of_caches),
            ("wrote files outside its own folders", start.outside.written),
        ):
            if files:
                notes.append(f"the {start.kind} start {what}: {_some(files)}")
        if changed := [file for file in start.changed_outside if file not in seen]:
            notes.append(
                f"files in the user's own caches changed while the {start.kind} start ran, not necessarily because "
                f"of it: {_some(changed)}"
            )
    if folders := dict.fromkeys(folder for start in existing for folder in start.not_compared):
        notes.append(f"too many files to check for changes: {_some(list(folders))}")
    return notes


def _some(files: Sequence[str]) -> str:
    more = len(files) - _PATHS_SHOWN
    return ", ".join(files[:_PATHS_SHOWN]) + (f" and {more} more" if more > 0 else "")
