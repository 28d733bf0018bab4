"""Prints the result table of a suite, and below it details of runs that did not simply pass."""

from __future__ import annotations

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from coldwarm.checks.verdict import Status
from coldwarm.report.summary import HEADINGS, SHORT_LOG_TAIL, RunSummary, SuiteSummary

_WIDE = 100

_STYLES = {
    Status.PASSED: "green",
    Status.KNOWN_ISSUE: "yellow",
    Status.UNSUPPORTED: "dim",
    Status.FAILED: "bold red",
    Status.UNEXPECTEDLY_FIXED: "bold red",
    Status.ERROR: "bold red",
}


def print_results(console: Console, summary: SuiteSummary) -> None:
    """Print the table, its footnotes, and a paragraph for each run that needs one."""
    console.print(_table(summary.runs, wide=console.width >= _WIDE))
    for note in summary.footnotes:
        console.print(Text(note), soft_wrap=True)
    for run in summary.runs:
        for line in _paragraph(run):
            console.print(line, soft_wrap=True)


def _table(runs: list[RunSummary], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for heading in HEADINGS:
        justify: JustifyMethod = "left" if heading in ("model", "verdict") else "right"
        if wide:
            heading = heading.replace("/\n", "/").replace("\n", " ")
        table.add_column(heading, justify=justify, vertical="bottom", no_wrap=True)
    for run in runs:
        *cells, status = run.cells
        table.add_row(*cells, Text(status, style=_STYLES[run.status]))
    return table


def _paragraph(run: RunSummary) -> list[Text]:
    if run.status is Status.PASSED and not run.notes:
        return []
    lines = [Text.assemble("\n", (run.name, "bold"), f": {run.status}")]
    lines += [Text(f"  - {reason}") for reason in run.reasons]
    # A message may contain a whole graph; `coldwarm show` prints it in full.
    lines += [Text(f"    {line}") for line in run.evidence(first_lines=True)]
    lines += [Text(f"  {line}") for line in run.why]
    lines += [Text(f"  note: {note}") for note in run.notes]
    if run.is_unhealthy:
        lines += [Text(f"    {line}", style="dim") for line in run.log_tail(SHORT_LOG_TAIL)]
        lines.append(Text(f"  reproduce: {run.reproduce}"))
    return lines
