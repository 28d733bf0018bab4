"""What compiling cost a start."""

from __future__ import annotations

from coldwarm.starts.record import StartRecord
from coldwarm.trace.busy_time import Stage

_COMPILING = frozenset(stage for stage in Stage if stage is not Stage.LOAD)


def seconds_compiling(record: StartRecord) -> float | None:
    """The time of all phases in which a compiler worked; None where the record does not tell them apart."""
    seconds = [phase.seconds for phase in record.phases if phase.name in _COMPILING]
    return sum(seconds) if seconds else None
