"""Exports a suite's results as Markdown for GitHub and Buildkite: the table, each failure, and time by phase."""

from __future__ import annotations

from coldwarm.checks.verdict import Status
from coldwarm.measure.phases import in_order
from coldwarm.report.markdown_text import markdown_table, on_one_line
from coldwarm.report.summary import HEADINGS, SHORT_LOG_TAIL, RunSummary, SuiteSummary


def render(summary: SuiteSummary) -> str:
    """Return the table, the footnotes, a paragraph for each run that needs one, and the phases of all starts."""
    headings = [heading.replace("\n", " ") for heading in HEADINGS]
    lines = ["### coldwarm", "", markdown_table(headings, [run.cells for run in summary.runs])]
    for line in summary.footnotes:
        lines += ["", on_one_line(line)]
    for run in summary.runs:
        lines += _paragraph(run)
    lines += _phases(summary.runs)
    return "\n".join(lines) + "\n"


def _paragraph(run: RunSummary) -> list[str]:
    if run.status in (Status.PASSED, Status.UNSUPPORTED):
        return []
    lines = ["", f"**{run.name}: {run.status}**", "", *(f"- {on_one_line(reason)}" for reason in run.reasons)]
    lines += [f"{_indent(line)}- {on_one_line(line)}" for line in run.why]
    if run.is_unhealthy:
        lines += ["", "```", *run.log_tail(SHORT_LOG_TAIL), run.reproduce, "```"]
    return lines


def _phases(runs: list[RunSummary]) -> list[str]:
    """Return the seconds in each phase of each start, in a collapsed section."""
    starts = [(run.name, start) for run in runs for start in run.starts if start.phases]
    if not starts:
        return []
    names = in_order(phase for _, start in starts for phase in start.phases)
    rows = [
        [name, start.kind, str(start.parallel_starts), f"{start.seconds:.1f}"]
        + [f"{start.phases[phase]:.1f}" if phase in start.phases else "" for phase in names]
        for name, start in starts
    ]
    table = markdown_table(["model", "start", "parallel starts", "s", *names], rows)
    return ["", "<details><summary>Where the time went, in seconds</summary>", "", table, "", "</details>"]


def _indent(line: str) -> str:
    """Return the indentation of an item; a continuation line becomes a nested item."""
    return "  " if line.startswith(" ") else ""
