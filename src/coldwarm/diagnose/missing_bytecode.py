"""Reports the Python modules that a start compiles from source because they have no cached bytecode."""

from __future__ import annotations

import shlex

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import StartRecord
from coldwarm.core.run_folder import record_name
from coldwarm.core.seen_in_process import MissingBytecode

_REPORTED_SECONDS = 1.0


def imported_from_source_findings(cold: StartRecord | None, warm: StartRecord | None) -> list[Finding]:
    """Report the cost in one finding; return none if it is below a second.

    It depends on the machine or the container image, not on the model. A spawned start pays it. For forked starts it
    was paid once, in the process that they are forked from, so none of them is charged for it.
    """
    starts = [(start, start.missing_bytecode) for start in (warm, cold) if start and start.missing_bytecode]
    starts.sort(key=lambda each: each[0].isolation is not IsolationKind.SPAWN)
    for start, missing in starts:
        if missing.seconds_again >= _REPORTED_SECONDS:
            is_spawned = start.isolation is IsolationKind.SPAWN
            what, first = _at_each_start(missing, is_spawned=is_spawned)
            return [_finding(start, missing, what, first, seconds=missing.seconds_again if is_spawned else None)]
    for start, missing in starts:
        if missing.seconds >= _REPORTED_SECONDS:
            return [_finding(start, missing, _once(missing), "", seconds=None)]
    return []


def _at_each_start(missing: MissingBytecode, *, is_spawned: bool) -> tuple[str, str]:
    """Return what was found, and what to do first."""
    paid = "" if is_spawned else f" ({missing.seconds_again:.1f} s here, paid once for all forked starts)"
    what = (
        f"{missing.modules_again} modules have no cached bytecode (.pyc), so every new Python process recompiles them"
        f"{paid}; "
    )
    if missing.switched_off:
        return f"{what}PYTHONDONTWRITEBYTECODE or -B disables bytecode caching", "unset that, or "
    return f"{what}their folders are not writable", ""


def _once(missing: MissingBytecode) -> str:
    return (
        f"{missing.modules} modules had no cached bytecode (.pyc), so Python compiled them in {missing.seconds:.1f} s; "
        "the bytecode is cached now, but every new container of the same image starts without it"
    )


def _finding(start: StartRecord, missing: MissingBytecode, what: str, first: str, *, seconds: float | None) -> Finding:
    # It exits with 1 if a file has the syntax of a different Python (torch has one), which must not fail a build.
    command = shlex.join([missing.python, "-m", "compileall", "-q", "-j", "0", *missing.roots])
    return Finding(
        kind=FindingKind.IMPORTED_FROM_SOURCE,
        start=start.kind,
        what=what,
        details=[f"in {root}" for root in missing.roots],
        evidence=[Evidence(file=record_name(start.kind), record="missing_bytecode")],
        seconds=seconds,
        next=f"{first}compile them once, in the image: {command} || true",
    )
