"""What compiling cost a start, and which finding is charged for it.

Each second of a start is charged to at most one finding. What is compiled outside the engine's own compilation is
measured separately, by the spans of its frames; everything else is one recompilation, whatever caused it.
"""

from __future__ import annotations

from collections.abc import Iterable

from coldwarm.core.finding import Finding
from coldwarm.core.record import StartRecord
from coldwarm.core.stage import Stage
from coldwarm.engines.base import load_vocabulary
from coldwarm.measure.frame_caches import Frame


def seconds_compiling(record: StartRecord) -> float | None:
    """Return the seconds of all phases in which a compiler worked; None if the record has no such phases."""
    compiling = {*Stage, *load_vocabulary(record.engine).trace.stages.values()} - {Stage.LOAD}
    seconds = [phase.seconds for phase in record.phases if phase.name in compiling]
    return sum(seconds) if seconds else None


def seconds_of_engine(record: StartRecord, others: Iterable[Frame]) -> float | None:
    """Return what the engine's own compilation cost a start: all compiling but that of the frames of `others`.

    None if the record has no phases of a compiler.
    """
    seconds = seconds_compiling(record)
    return None if seconds is None else max(0.0, seconds - sum(frame.seconds or 0.0 for frame in others))


def charge_together(findings: list[Finding], seconds: float | None) -> list[Finding]:
    """Charge `seconds` once to findings that led to one recompilation: the first has the cost, the others share it."""
    return [
        finding.model_copy(
            update={"seconds": None if number else seconds, "shares_cost": number > 0 and seconds is not None}
        )
        for number, finding in enumerate(findings)
    ]


def charged(findings: Iterable[Finding], record: StartRecord) -> float:
    """Return the seconds that are charged to findings on the start of `record`."""
    return sum(finding.seconds or 0.0 for finding in findings if finding.start is record.kind)


def without_cost(finding: Finding) -> Finding:
    """Return the finding as one whose cost is unknown."""
    return finding.model_copy(update={"seconds": None, "shares_cost": False})
