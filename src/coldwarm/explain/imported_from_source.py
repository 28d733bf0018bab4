"""Tells of the Python modules that a start compiles from source, because it finds no bytecode of them."""

from __future__ import annotations

import shlex

from coldwarm.explain.finding import Evidence, Finding, FindingKind
from coldwarm.starts.bytecode import MissingBytecode
from coldwarm.starts.record import StartRecord

_WORTH_TELLING_SECONDS = 1.0


def imported_from_source_findings(cold: StartRecord | None, warm: StartRecord | None) -> list[Finding]:
    """Tell, in one finding, what that costs; empty: hardly anything.

    It is the machine's, or the container image's, whatever the model.
    """
    # The warm start, which costs most often, where it is the same for both.
    starts = [(start, start.missing_bytecode) for start in (warm, cold) if start and start.missing_bytecode]
    if not starts:
        return []
    start, missing = max(starts, key=lambda each: each[1].seconds)
    if missing.seconds < _WORTH_TELLING_SECONDS:
        return []
    lasts, way_out = _reason(missing)
    return [
        Finding(
            kind=FindingKind.IMPORTED_FROM_SOURCE,
            start=start.kind,
            what=f"Python compiled {missing.modules} modules from source to import the engine: it found no bytecode of "
            f"them, and {lasts}",
            details=[f"they lie in {root}" for root in missing.roots],
            evidence=[Evidence(file=f"{start.kind}.json", record="missing_bytecode")],
            seconds=missing.seconds,
            next=f"{way_out}compile them once, in the image: python -m compileall -q -j 0 {shlex.join(missing.roots)}",
        )
    ]


def _reason(missing: MissingBytecode) -> tuple[str, str]:
    """How long it will be so, and what to do before all else."""
    if missing.modules_again == 0:
        return "has now kept it; a new container of the same image begins without", ""
    if missing.switched_off:
        return (
            "keeps none, as it was told (PYTHONDONTWRITEBYTECODE, -B): each new process does it again",
            "unset that, or ",
        )
    return "could not write it into their folders: each new process does it again", ""
