"""Explains what torch.compile compiled after the engine was ready: which function the first requests waited for."""

from __future__ import annotations

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import record_name
from coldwarm.engines.base import load_vocabulary
from coldwarm.measure.late_functions import LateFunction, functions_after_ready


def late_function_findings(*records: StartRecord | None) -> list[Finding]:
    """Return a finding for each function that was compiled after the engine was ready in one of the starts.

    Those of a cold start that only requests for log-probabilities need are no finding.

    The seconds of a warm start are those of another finding, because it should compile nothing at all.

    Args:
        records: The cold start, then the warm one.
    """
    late: dict[tuple[str, str | None], dict[StartKind, LateFunction]] = {}
    for record in filter(None, records):
        expected = load_vocabulary(record.engine).compiled_on_request if record.kind is StartKind.COLD else ()
        for each in (each for each in functions_after_ready(record) if not each.is_in(expected)):
            late.setdefault((each.label, each.where), {})[record.kind] = each
    return [_finding(starts) for starts in late.values()]


def _finding(starts: dict[StartKind, LateFunction]) -> Finding:
    kind, first = next(iter(starts.items()))
    count = max(each.keys for each in starts.values())
    return Finding(
        kind=FindingKind.COMPILED_AFTER_READY,
        start=kind,
        what=f"torch.compile compiled `{first.name}` with {count} {'key' if count == 1 else 'keys'} after the engine "
        f"was ready, in the {' and the '.join(starts)} start: the first requests wait for it",
        where=first.where,
        evidence=[Evidence(file=record_name(kind), record=f"compiler_work.functions: {first.name}")],
        seconds=first.seconds if kind is StartKind.COLD else None,
        shares_cost=kind is StartKind.WARM,
        kernel=first.label,
        keys=count,
        next="have the engine compile it in its warm-up",
    )
