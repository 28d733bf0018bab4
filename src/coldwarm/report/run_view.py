"""Shows one run in full: checks, phases, caches, versions, settings."""

from __future__ import annotations

from rich.console import Console

from coldwarm.report.summary import RunSummary, StartSummary


def print_run(console: Console, run: RunSummary) -> None:
    """Print `run` in full."""
    for line in _lines(run):
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _lines(run: RunSummary) -> list[str]:
    lines = [run.title, *(f"  - {reason}" for reason in run.reasons)]
    for check in run.checks:
        lines.append(f"  {check.mark:5} {check.message}")
        lines += [f"          log: {evidence}" for evidence in check.evidence]
    lines += [f"  note: {note}" for note in run.notes]
    for start in run.starts:
        lines += _start_lines(start)
    return [*lines, f"  reproduce: {run.reproduce}", ""]


def _start_lines(start: StartSummary) -> list[str]:
    lines = [f"  {start.kind} start: {start.outcome}, {start.seconds:.1f} s"]
    lines.append("    phases  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in start.phases.items()))
    lines += [f"    {label}  {text}" for label, text in start.details.items()]
    lines += [f"    {message}" for message in start.messages]
    if start.failure is not None:
        lines += [f"    {start.failure}", *(f"      {line}" for line in start.log_tail)]
    return lines
