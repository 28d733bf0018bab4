"""What there is to say of a suite as a whole, below its table."""

from __future__ import annotations

from coldwarm.core.depth import DOES_NOT_PROVE
from coldwarm.core.finding import FindingKind
from coldwarm.report.findings import as_one_line, finding_in_one_line
from coldwarm.suite.result import RunResult


def footnotes(results: list[RunResult]) -> list[str]:
    """Return a line for each: how many starts ran at a time, what the depths do not prove, and what every start of the
    machine costs, whatever the model."""
    records = [record for result in results for record in (result.cold, result.warm) if record]
    lines = []
    if (most := max((record.side_by_side for record in records), default=1)) > 1:
        lines.append(f"times are under load: up to {most} starts ran at a time")
    for depth in dict.fromkeys(record.depth for record in records):
        if DOES_NOT_PROVE[depth]:
            lines.append(f"--depth {depth} does not prove {DOES_NOT_PROVE[depth]}")
    return lines + _imported_from_source(results)


def _imported_from_source(results: list[RunResult]) -> list[str]:
    """The finding of the run that it cost most: the others tell the same."""
    found = [
        finding
        for result in results
        if result.explanation is not None
        for finding in result.explanation.findings
        if finding.kind is FindingKind.IMPORTED_FROM_SOURCE
    ]
    found.sort(key=lambda finding: finding.seconds or 0.0)
    return [as_one_line("; ".join(filter(None, [finding_in_one_line(each), each.next]))) for each in found[-1:]]
