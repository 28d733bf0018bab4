"""What could not be observed in the processes of a start."""

from __future__ import annotations

from coldwarm.core.record import WHOLE_PROCESS, ProcessReport, StartRecord


def unobserved(*starts: StartRecord | None) -> list[str]:
    """Return a note for each probe that failed in a process of one of the `starts`, so that what it reports is not all
    or missing."""
    return [
        f"{_what(process, probe)} could not be observed in the {start.kind} start: {error}"
        for start in starts
        if start is not None
        for process in start.processes
        for probe, error in process.failed_probes.items()
    ]


def _what(process: ProcessReport, probe: str) -> str:
    if probe == WHOLE_PROCESS:
        command = process.program.command if process.program is not None else process.role
        return f"process {process.pid} ({command})"
    return f"{probe} of {process.role}{'' if process.rank is None else f' rank {process.rank}'}"
