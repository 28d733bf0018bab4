"""A suite's results as Markdown: the table, what there is to say of each run, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from coldwarm.checks.verdict import Status
from coldwarm.measure.phases import in_order
from coldwarm.report.explanation_view import short_lines
from coldwarm.report.files import remove_stale, write_report
from coldwarm.report.footnotes import footnotes
from coldwarm.report.table import HEADINGS, row
from coldwarm.suite.result import RunResult


def write_markdown(path: Path, results: list[RunResult]) -> None:
    """Write `results` to `path`.

    Raises:
        UsageError: The file cannot be written.
    """
    remove_stale(path)
    text = to_markdown(results)
    write_report(path, lambda file: file.write_text(text, encoding="utf-8"))


def to_markdown(results: list[RunResult]) -> str:
    """Return `results` as GitHub and Buildkite show it."""
    lines = ["### coldwarm", "", *_table([heading.replace("\n", " ") for heading in HEADINGS], map(row, results))]
    for line in footnotes(results):
        lines += ["", _line(line)]
    for result in results:
        lines += _told(result)
    lines += _phases(results)
    return "\n".join(lines) + "\n"


def _told(result: RunResult) -> list[str]:
    verdict = result.verdict
    if verdict.status in (Status.PASSED, Status.UNSUPPORTED):
        return []
    lines = ["", f"**{result.case.name}: {verdict.status}**", "", *(f"- {_line(reason)}" for reason in verdict.reasons)]
    if result.explanation is not None:
        lines += [f"{_indent(line)}- {_line(line)}" for line in short_lines(result.explanation)]
    if verdict.status is not Status.KNOWN_ISSUE:
        lines += ["", "```", *_log_tail(result), result.again, "```"]
    return lines


def _phases(results: list[RunResult]) -> list[str]:
    """Seconds in each phase of each start, folded away; starts that were never made have none."""
    records = [(r.case.name, record) for r in results for record in (r.cold, r.warm) if record and record.phases]
    if not records:
        return []
    names = in_order(phase.name for _, record in records for phase in record.phases)
    rows = []
    for name, record in records:
        seconds = {phase.name: f"{phase.seconds:.1f}" for phase in record.phases}
        rows.append([name, record.kind, str(record.side_by_side), f"{record.seconds:.1f}"])
        rows[-1] += [seconds.get(phase, "") for phase in names]
    table = _table(["model", "start", "starts at a time", "s", *names], rows)
    return ["", "<details><summary>Where the time went, in seconds</summary>", "", *table, "", "</details>"]


def _table(headings: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [_row(headings), _row(["---"] * len(headings))]
    return lines + [_row(cells) for cells in rows]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_line(cell) for cell in cells) + " |"


def _line(text: str) -> str:
    """`text` on one line, with nothing that Markdown or HTML would take for its own."""
    text = " ".join(text.split())
    for character in "\\`*_{}[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def _indent(line: str) -> str:
    """A line that goes on from the one above is a point below it."""
    return "  " if line.startswith(" ") else ""


def _log_tail(result: RunResult) -> list[str]:
    return next((r.failure.log_tail[-8:] for r in (result.cold, result.warm) if r and r.failure), [])
