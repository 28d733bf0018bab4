"""Notes on a suite as a whole, printed below its table."""

from __future__ import annotations

from coldwarm.core.finding import FindingKind
from coldwarm.report.findings import as_one_line, finding_in_one_line
from coldwarm.suite.result import RunResult


def footnotes(results: list[RunResult]) -> list[str]:
    """Return a line for each note on `results`.

    The notes are the number of parallel starts, what the depth does not check, and startup costs that do not depend on
    the model.
    """
    records = [record for result in results for record in result.records]
    lines = []
    if (repetitions := max((len(result.repetitions) for result in results), default=0)) > 1:
        lines.append(f"seconds are medians of {repetitions} repetitions")
    if (most := max((record.side_by_side for record in records), default=1)) > 1:
        lines.append(f"timings were measured with up to {most} starts running in parallel")
    for depth in dict.fromkeys(record.depth for record in records):
        if not_checked := depth.level.not_checked:
            lines.append(f"--depth {depth} does not check {not_checked}")
    return lines + _missing_bytecode(results)


def _missing_bytecode(results: list[RunResult]) -> list[str]:
    """Return the finding of the run in which it cost most; those of other runs say the same."""
    found = [
        finding
        for result in results
        if result.explanation is not None
        for finding in result.explanation.findings
        if finding.kind is FindingKind.IMPORTED_FROM_SOURCE
    ]
    found.sort(key=lambda finding: finding.seconds or 0.0)
    return [as_one_line("; ".join(filter(None, [finding_in_one_line(each), each.next]))) for each in found[-1:]]
