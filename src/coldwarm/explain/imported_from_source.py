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
    starts = [(start, start.missing_bytecode) for start in (warm, cold) if start and start.missing_bytecode]
    for start, missing in starts:
        if missing.seconds_again >= _WORTH_TELLING_SECONDS:
            return [_told(start, missing, *_at_each_start(missing), seconds=missing.seconds_again)]
    for start, missing in starts:
        if missing.seconds >= _WORTH_TELLING_SECONDS:
            return [_told(start, missing, *_once(missing), seconds=None)]
    return []


def _at_each_start(missing: MissingBytecode) -> tuple[str, str]:
    """What was found, and what to do before all else."""
    modules = f"{missing.modules_again} modules from source"
    what = f"Python compiled {modules}, as each new process does: it found no bytecode of them, and"
    if missing.switched_off:
        return f"{what} keeps none, as it was told (PYTHONDONTWRITEBYTECODE, -B)", "unset that, or "
    return f"{what} could not write it into their folders", ""


def _once(missing: MissingBytecode) -> tuple[str, str]:
    what = f"Python compiled {missing.modules} modules from source, in {missing.seconds:.1f} s: it found no bytecode of"
    return f"{what} them; it has kept it now, but a new container of the same image begins without", ""


def _told(start: StartRecord, missing: MissingBytecode, what: str, first: str, *, seconds: float | None) -> Finding:
    # It exits with 1 where a file is of another Python's syntax (torch has one), which must fail no image's build.
    command = shlex.join([missing.python, "-m", "compileall", "-q", "-j", "0", *missing.roots])
    return Finding(
        kind=FindingKind.IMPORTED_FROM_SOURCE,
        start=start.kind,
        what=what,
        details=[f"they lie in {root}" for root in missing.roots],
        evidence=[Evidence(file=f"{start.kind}.json", record="missing_bytecode")],
        seconds=seconds,
        next=f"{first}compile them once, in the image: {command} || true",
    )
