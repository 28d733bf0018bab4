"""Tells of the Python modules that a start compiles from source, because it finds no bytecode of them."""

from __future__ import annotations

import shlex

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import StartRecord
from coldwarm.core.run_folder import record_name
from coldwarm.core.seen_in_process import MissingBytecode

_WORTH_TELLING_SECONDS = 1.0


def imported_from_source_findings(cold: StartRecord | None, warm: StartRecord | None) -> list[Finding]:
    """Tell, in one finding, what that costs; empty: hardly anything.

    It is the machine's, or the container image's, whatever the model. A spawned start pays it. For forked starts it was
    paid once, in the process that they are forked from: it is no cost of any of them, but one of each new process.
    """
    starts = [(start, start.missing_bytecode) for start in (warm, cold) if start and start.missing_bytecode]
    starts.sort(key=lambda each: each[0].isolation is not IsolationKind.SPAWN)
    for start, missing in starts:
        if missing.seconds_again >= _WORTH_TELLING_SECONDS:
            is_spawned = start.isolation is IsolationKind.SPAWN
            what, first = _at_each_start(missing, is_spawned=is_spawned)
            return [_told(start, missing, what, first, seconds=missing.seconds_again if is_spawned else None)]
    for start, missing in starts:
        if missing.seconds >= _WORTH_TELLING_SECONDS:
            return [_told(start, missing, _once(missing), "", seconds=None)]
    return []


def _at_each_start(missing: MissingBytecode, *, is_spawned: bool) -> tuple[str, str]:
    """What was found, and what to do before all else."""
    paid = "" if is_spawned else f" ({missing.seconds_again:.1f} s here, paid once for all forked starts)"
    what = (
        f"{missing.modules_again} modules have no cached bytecode (.pyc), so every new Python process recompiles them"
        f"{paid}; "
    )
    if missing.switched_off:
        return f"{what}PYTHONDONTWRITEBYTECODE or -B disables bytecode caching", "unset that, or "
    return f"{what}the folders that they lie in cannot be written", ""


def _once(missing: MissingBytecode) -> str:
    return (
        f"{missing.modules} modules had no cached bytecode (.pyc), so Python compiled them in {missing.seconds:.1f} s; "
        "the bytecode is cached now, but every new container of the same image starts without it"
    )


def _told(start: StartRecord, missing: MissingBytecode, what: str, first: str, *, seconds: float | None) -> Finding:
    # It exits with 1 where a file is of another Python's syntax (torch has one), which must fail no image's build.
    command = shlex.join([missing.python, "-m", "compileall", "-q", "-j", "0", *missing.roots])
    return Finding(
        kind=FindingKind.IMPORTED_FROM_SOURCE,
        start=start.kind,
        what=what,
        details=[f"they lie in {root}" for root in missing.roots],
        evidence=[Evidence(file=record_name(start.kind), record="missing_bytecode")],
        seconds=seconds,
        next=f"{first}compile them once, in the image: {command} || true",
    )
