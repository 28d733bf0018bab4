"""What could not be observed in the processes of a start."""

from __future__ import annotations

from coldwarm.core.record import StartRecord


def unobserved(*starts: StartRecord | None) -> list[str]:
    """Return a note for each probe that failed in a process of one of the `starts`, so that what it reports is not all
    or missing."""
    return [
        f"{probe} of {process.role}{'' if process.rank is None else f' rank {process.rank}'} could not be observed in "
        f"the {start.kind} start: {error}"
        for start in starts
        if start is not None
        for process in start.processes
        for probe, error in process.failed_probes.items()
    ]
