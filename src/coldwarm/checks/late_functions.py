"""Functions that a command gave to torch.compile after it was ready."""

from __future__ import annotations

from coldwarm.core.phases import GENERATE
from coldwarm.core.record import StartRecord


def compiled_after_ready(*starts: StartRecord | None) -> list[str]:
    """Return a note for each function that was compiled after a command was ready, so that a request waited for it."""
    notes = []
    for start in starts:
        if start is None or not start.command or start.compiler_work is None:
            continue
        ready = next((step.begin for step in start.steps if step.name == GENERATE), None)
        for function in start.compiler_work.functions:
            if ready is not None and function.compiled_last is not None and function.compiled_last >= ready:
                seconds = "" if function.seconds is None else f" ({function.seconds:.1f} s)"
                notes.append(
                    f"after the {start.kind} start was ready, torch.compile compiled {function.name}{seconds}: "
                    "a request waits for it"
                )
    return notes
