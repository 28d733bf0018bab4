"""The one table that a suite ends with, and under it each failure in words."""

from __future__ import annotations

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from coldwarm.checks.verdict import Status
from coldwarm.core.checks import Check
from coldwarm.core.depth import Depth
from coldwarm.core.record import StartRecord
from coldwarm.core.run_folder import log_name
from coldwarm.engines.vllm.statistics import LOADED, SAVED, SUBGRAPHS
from coldwarm.report.explanation_view import short_lines
from coldwarm.report.footnotes import footnotes
from coldwarm.suite.result import RunResult

# Broken where the lines end on a narrow terminal, so that the whole table fits 80 columns.
HEADINGS = (
    "model",
    "subgraphs",
    "unique",
    "cold\nsaved/\nloaded",
    "warm\nsaved/\nloaded",
    "cold\ns",
    "warm\ns",
    "verdict",
)
_WIDE = 100

_STYLES = {
    Status.PASSED: "green",
    Status.KNOWN_ISSUE: "yellow",
    Status.UNSUPPORTED: "dim",
    Status.FAILED: "bold red",
    Status.UNEXPECTEDLY_FIXED: "bold red",
    Status.ERROR: "bold red",
}


def print_results(console: Console, results: list[RunResult]) -> None:
    """Print the table and what there is to say of each run that is not simply healthy."""
    console.print(_table(results, wide=console.width >= _WIDE))
    for note in footnotes(results):
        console.print(Text(note), soft_wrap=True)
    for result in results:
        for line in _explained(result):
            console.print(line, soft_wrap=True)


def _table(results: list[RunResult], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for heading in HEADINGS:
        justify: JustifyMethod = "left" if heading in ("model", "verdict") else "right"
        if wide:
            heading = heading.replace("/\n", "/").replace("\n", " ")
        table.add_column(heading, justify=justify, vertical="bottom", no_wrap=True)
    for result in results:
        *cells, status = row(result)
        table.add_row(*cells, Text(status, style=_STYLES[result.verdict.status]))
    return table


def row(result: RunResult) -> list[str]:
    """The cells of a run, under `HEADINGS`."""
    return [
        result.case.name,
        _counter(result.cold, SUBGRAPHS),
        _unique(result.cold),
        _saved_and_loaded(result.cold),
        _saved_and_loaded(result.warm),
        _seconds(result.cold),
        _seconds(result.warm),
        result.verdict.status,
    ]


def _explained(result: RunResult) -> list[Text]:
    verdict = result.verdict
    if verdict.status is Status.PASSED and not verdict.notes:
        return []
    lines = [Text.assemble("\n", (result.case.name, "bold"), f": {verdict.status}")]
    lines += [Text(f"  - {reason}") for reason in verdict.reasons]
    lines += [Text(f"    log: {line}") for check in verdict.checks if not check.holds for line in _first_lines(check)]
    if result.explanation is not None:
        lines += [Text(f"  {line}") for line in short_lines(result.explanation)]
    lines += [Text(f"  note: {note}") for note in verdict.notes]
    if verdict.status in (Status.FAILED, Status.UNEXPECTEDLY_FIXED, Status.ERROR):
        lines += [Text(f"    {line}", style="dim") for line in _log_tail(result)]
        lines.append(Text(f"  again: {result.again}"))
    return lines


def _first_lines(check: Check) -> list[str]:
    # A message may hold a whole graph; `coldwarm show` has it all.
    return [evidence.splitlines()[0] for evidence in check.evidence]


def _log_tail(result: RunResult) -> list[str]:
    for record in (result.cold, result.warm):
        if record is not None and record.failure is not None:
            return [f"{log_name(record.kind)}: {line}" for line in record.failure.log_tail[-8:]]
    return []


def _counter(record: StartRecord | None, name: str) -> str:
    return str(record.facts.counters.get(name, "?")) if record and record.facts else ""


def _unique(record: StartRecord | None) -> str:
    return str(record.compiler_work.subgraphs_unique) if record and record.compiler_work else ""


def _saved_and_loaded(record: StartRecord | None) -> str:
    # Where nothing is compiled, zeros would tell nothing.
    told = record is not None and record.facts is not None and record.depth is not Depth.TRACE
    return f"{_counter(record, SAVED)} / {_counter(record, LOADED)}" if told else ""


def _seconds(record: StartRecord | None) -> str:
    return f"{record.seconds:.1f}" if record else ""
