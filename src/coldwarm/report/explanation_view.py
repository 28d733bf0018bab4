"""Shows an explanation: time by phase, subgraphs that share an artifact, cache hits and misses, findings."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coldwarm.core.compiler_work import CompiledFunction
from coldwarm.core.record import StartRecord
from coldwarm.core.stats import LayerCounts
from coldwarm.diagnose.compilers import CompilerCell
from coldwarm.diagnose.explanation import Explanation
from coldwarm.diagnose.sharing import ClassReport
from coldwarm.measure.phases import in_order
from coldwarm.report.findings import as_one_line, finding_lines
from coldwarm.suite.result import RunResult

_MOST_SUBMODULES = 4


def print_explanation(console: Console, result: RunResult, explanation: Explanation) -> None:
    """Print the explanation of one run."""
    case = result.case
    console.print(
        Text.assemble(
            (case.name, "bold"),
            f" on {case.engine}, {case.device}, {case.compilation}: {result.verdict.status}",
        ),
        soft_wrap=True,
    )
    for title, table in (
        ("Where the time went, in seconds", _times(result.cold, result.warm)),
        *(("Subgraphs that share an artifact", _classes(classes)) for classes in explanation.models),
        ("Caches, hits / misses", _layers(explanation)),
        ("Functions given to torch.compile, compiled / loaded", _functions(result.cold, result.warm)),
        ("Compilers, compiled / loaded", _compilers(explanation)),
        ("Slowest kernels", _kernels(explanation)),
    ):
        if table.row_count:
            console.print(Text(f"\n{title}", style="bold"))
            console.print(table)
    _print_findings(console, explanation)
    for note in explanation.notes:
        console.print(Text(f"note: {as_one_line(note)}"), soft_wrap=True)
    console.print()


def _print_findings(console: Console, explanation: Explanation) -> None:
    count = len(explanation.findings)
    console.print(Text(f"\n{count or 'No'} finding{'' if count == 1 else 's'}", style="bold"))
    for number, finding in enumerate(explanation.findings, start=1):
        first, *rest = finding_lines(finding)
        console.print(Text(f"{number}. {first}"), soft_wrap=True)
        for line in rest:
            console.print(Text(textwrap.indent(line, "   ")), soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right", no_wrap=number == 0)
    return table


def _times(cold: StartRecord | None, warm: StartRecord | None) -> Table:
    table = _table("phase", "cold", "warm")
    seconds = [{phase.name: phase.seconds for phase in record.phases} if record else {} for record in (cold, warm)]
    for name in in_order([*seconds[0], *seconds[1]]):
        table.add_row(name, *(f"{each[name]:.1f}" if name in each else "" for each in seconds))
    if table.row_count:
        table.add_row(
            Text("total", style="bold"), *(f"{record.seconds:.1f}" if record else "" for record in (cold, warm))
        )
    return table


def _classes(classes: list[ClassReport]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("group", no_wrap=True)
    table.add_column("subgraphs", justify="right")
    table.add_column("compile time, s", justify="right")
    table.add_column("submodules")
    for one in classes:
        shown = ", ".join(one.submodules[:_MOST_SUBMODULES])
        more = len(one.submodules) - _MOST_SUBMODULES
        table.add_row(
            one.name,
            str(len(one.submodules)),
            f"{one.seconds:.1f}",
            shown + (f" and {more} more" if more > 0 else ""),
        )
    return table


def _layers(explanation: Explanation) -> Table:
    table = _table("layer", "cold", "warm")
    for layer in explanation.layers:
        table.add_row(layer.name, _counts(layer.cold), _counts(layer.warm))
    return table


def _functions(cold: StartRecord | None, warm: StartRecord | None) -> Table:
    """Return the functions of a user's command, by name; those of the engine's models are subgraphs."""
    table = _table("function", "rank", "cold", "cold s", "warm", "warm s")
    starts = [
        {(each.rank, each.name): each for each in record.compiler_work.functions}
        if record is not None and record.command and record.compiler_work is not None
        else {}
        for record in (cold, warm)
    ]
    for rank, name in dict.fromkeys([*starts[0], *starts[1]]):
        cells = [_of_function(functions.get((rank, name))) for functions in starts]
        table.add_row(as_one_line(name), str(rank), *(text for cell in cells for text in cell))
    return table


def _of_function(function: CompiledFunction | None) -> tuple[str, str]:
    if function is None:
        return "", ""
    return f"{len(function.missed) + function.bypassed} / {len(function.loaded)}", _seconds(function.seconds)


def _compilers(explanation: Explanation) -> Table:
    table = _table("compiler", "cold", "cold s", "warm", "warm s")
    for row in explanation.compilers:
        table.add_row(row.compiler, *(text for cell in (row.cold, row.warm) for text in _of_compiler(cell)))
    return table


def _of_compiler(cell: CompilerCell | None) -> tuple[str, str]:
    if cell is None:
        return "", ""
    return f"{cell.compiled} / {cell.loaded}" + (f", {cell.listed} listed" if cell.listed else ""), _seconds(
        cell.seconds
    )


def _kernels(explanation: Explanation) -> Table:
    table = _table("kernel", "compiler", "cold keys", "cold s", "warm keys", "warm s")
    for row in explanation.kernels:
        cells = [
            ("", "") if cell is None else (str(cell.keys), _seconds(cell.seconds)) for cell in (row.cold, row.warm)
        ]
        table.add_row(as_one_line(row.kernel), row.compiler, *(text for cell in cells for text in cell))
    return table


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _counts(counts: LayerCounts | None) -> str:
    if counts is None:
        return ""
    if counts.is_off:
        return "cache off" + (f", {counts.misses} needed" if counts.misses else "")
    hits, misses = ("not counted" if count is None else str(count) for count in (counts.hits, counts.misses))
    text = hits if counts.hits is None and counts.misses is None else f"{hits} / {misses}"
    return text + (f", {counts.bypasses} bypassed" if counts.bypasses else "")
