"""Prints the result of a bisection."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coldwarm.bisection.bisect import Bisection
from coldwarm.bisection.measure import UNIQUE, Measurement
from coldwarm.report.findings import as_one_line, finding_lines

_MOST_LINES = 60
"""Of a diff; the file has all."""
_MOST_FILES = 12


def print_bisection(console: Console, bisection: Bisection) -> None:
    """Print which candidate is the first bad one, and why."""
    for line in _lines(bisection):
        if isinstance(line, Table):
            console.print(line)
        else:
            console.print(Text(line), soft_wrap=True)


def bisection_as_json(bisection: Bisection) -> str:
    """Return the same as a JSON object."""
    found = bisection.found
    content = {
        "check": found.check,
        "depth": found.depth,
        "last_good": found.last_good.name,
        "first_bad": found.first_bad.name,
        "cannot_be_judged": {each.name: each.why_not for each in found.between},
        "measured": [
            {"name": each.name, "value": each.value(found.check), "status": _status(each), "folder": _folder(each)}
            for each in found.measured
        ],
        "findings": [finding.model_dump(mode="json") for finding in bisection.findings],
        "changed_files": [
            {
                "file": change.file,
                "added": change.added,
                "removed": change.removed,
                "traced_only_with": change.traced_only_with,
            }
            for change in bisection.changed
        ],
        "diff": None if bisection.diff is None else str(bisection.diff),
    }
    return json.dumps(content, indent=2)


def _lines(bisection: Bisection) -> list[str | Table]:
    found, noun = bisection.found, bisection.noun
    lines: list[str | Table] = []
    if found.between:
        names = ", ".join(each.name for each in found.between)
        lines.append(f"first bad {noun}: one of {names}, {found.first_bad.name} (last good: {found.last_good.name})")
        lines += [
            as_one_line(f"  {each.name} cannot be judged: {each.why_not or 'no such check'}") for each in found.between
        ]
    else:
        lines.append(f"first bad {noun}: {found.first_bad.name} (last good: {found.last_good.name})")
    lines += [f"check: {found.check}, at depth {found.depth}", "", _table(noun, found.check, found.measured)]
    for words in bisection.reasons:
        lines += ["", as_one_line(words)]
    for finding in bisection.findings:
        first, *rest = finding_lines(finding)
        lines += ["", f"why: {first}", *(f"  {line}" for line in rest)]
    for function in bisection.around:
        lines += ["", f"changed in {function.function}:", *_shortened(function.diff)]
    if bisection.changed:
        names = f"{found.last_good.name} and {found.first_bad.name}"
        lines += ["", f"changed between {names}, of the files that the model is traced from:"]
        width = max(len(change.file) for change in bisection.changed[:_MOST_FILES])
        for change in bisection.changed[:_MOST_FILES]:
            only = f"  traced only with {change.traced_only_with}" if change.traced_only_with else ""
            lines.append(f"  {change.file:<{width}}  {f'+{change.added}':>5} {f'-{change.removed}':>5}{only}")
        if (more := len(bisection.changed) - _MOST_FILES) > 0:
            lines.append(f"  and {more} more")
    if bisection.diff is not None:
        lines.append(f"all changes of these files: {bisection.diff}")
    return lines


def _table(noun: str, check: str, measured: Sequence[Measurement]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    headings = [noun, *dict.fromkeys([check, UNIQUE]), "verdict"]
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for each in measured:
        checks = [each.value(name) or "" for name in headings[1:-1]]
        table.add_row(each.name, *checks, _status(each))
    return table


def _status(each: Measurement) -> str:
    return "not started" if each.result is None else str(each.result.verdict.status)


def _folder(each: Measurement) -> str | None:
    return None if each.folder is None else str(each.folder)


def _shortened(diff: Sequence[str]) -> list[str]:
    shown = [f"  {line}".rstrip() for line in diff[:_MOST_LINES]]
    return [*shown, *([f"  and {len(diff) - _MOST_LINES} more lines"] if len(diff) > _MOST_LINES else [])]
