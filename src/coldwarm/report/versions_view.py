"""Writes tables of versions and models as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from coldwarm.catalog.catalog import is_file
from coldwarm.checks.verdict import Status
from coldwarm.core.issue_reference import Linked, is_url
from coldwarm.engines.base import load_vocabulary
from coldwarm.suite.versions import Cell, Change, Column, Comparison, VersionTable

_HEADINGS = {"new": "Broke", "gone": "Fixed", "changed": "Changed"}
_LONGEST_TITLE = 300


def versions_as_markdown(tables: Sequence[VersionTable], folder: Path) -> str:
    """Return the tables, and below each what every version changed.

    Args:
        tables: The tables.
        folder: The folder of the file to be written, from which links lead to pages of a checkout of coldwarm, if that
            is the current folder.
    """
    parts = [
        "# Versions",
        "Printed by `coldwarm versions`. Each cell shows how many artifacts the cold start saved and the warm start "
        "loaded, then the verdict unless it is `passed`."
        + (" Cells with (count) were measured at that depth." if any(map(_mixes_depths, tables)) else ""),
    ]
    for table in tables:
        parts += [f"## {_title(table)}", _table(table)]
        for number in range(1, len(table.columns)):
            parts += _changes(table, number, folder)
    return "\n\n".join(parts) + "\n"


def changed_versions(comparison: Comparison) -> list[str]:
    """Return a list of the packages whose versions differ, as a part of a page; empty: none do."""
    lines = [
        f"- {name}: {before or 'none'}, now {after or 'none'}" for name, (before, after) in comparison.packages.items()
    ]
    return ["\n".join(["Versions:", "", *lines])] if lines else []


def changed_verdicts(comparison: Comparison, folder: Path) -> list[str]:
    """Return what broke, then what was fixed, then the rest. Links are as in `versions_as_markdown`."""
    return _lists(comparison.changes, folder)


def _title(table: VersionTable) -> str:
    engine = load_vocabulary(table.engine).title
    device = {"cpu": "CPU", "cuda": "GPU"}.get(table.device, table.device)
    how = "" if table.compilation == "piecewise" else f", {table.compilation} compilation"
    artifacts = f", {table.aot_artifact} artifacts" if table.aot_artifact else ""
    return f"{engine} on a {device}{how}{artifacts}"


def _table(table: VersionTable) -> str:
    lines = [
        _row(["model", *(column.version for column in table.columns)]),
        _row(["---"] * (len(table.columns) + 1)),
        _row(["torch", *(column.torch for column in table.columns)]),
        _row(["depth", *(column.depth for column in table.columns)]),
    ]
    for model in table.models():
        lines.append(_row([model, *(_cell(column, model) for column in table.columns)]))
    measured = [f"- {column.version}: {', '.join(f'`{name}`' for name in column.suites)}" for column in table.columns]
    return "\n".join([*lines, "", "Measured in:", "", *measured])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(column: Column, model: str) -> str:
    cell = column.cells.get(model)
    if cell is None:
        return ""
    counts = _counts(cell) if cell.not_compiled is None else "not compiled"
    verdict = "" if cell.status is Status.PASSED else str(cell.status)
    depth = "" if cell.depth is column.depth else f"({cell.depth})"
    return " ".join(filter(None, [counts, verdict, depth]))


def _mixes_depths(table: VersionTable) -> bool:
    return any(cell.depth is not column.depth for column in table.columns for cell in column.cells.values())


def _counts(cell: Cell) -> str:
    if cell.saved is None:
        return ""
    return f"{cell.saved} / {'' if cell.loaded is None else cell.loaded}".strip()


def _changes(table: VersionTable, number: int, folder: Path) -> list[str]:
    column = table.columns[number]
    head = f"### {column.version}"
    changes = table.changes(number)
    if not changes:
        return [head, f"No model differs from {table.columns[number - 1].version}."]
    return [head, *_lists(changes, folder)]


def _lists(changes: Sequence[Change], folder: Path) -> list[str]:
    parts = []
    for how, heading in _HEADINGS.items():
        lines = [f"- {_change(change, folder)}" for change in changes if change.how == how]
        parts += ["\n".join([f"{heading}:", "", *lines])] if lines else []
    return parts


def _change(change: Change, folder: Path) -> str:
    models = ", ".join(f"{model}{_difference(change, *cells)}" for model, cells in change.models.items())
    if change.issue is None:
        return f"{_one_line(change.what)}: {models}"
    return f"{_linked(change.issue, folder)}: {_one_line(change.what)}: {models}"


def _difference(change: Change, before: Cell, after: Cell) -> str:
    is_of_counts = change.issue is None or change.issue.id in before.of_counts | after.of_counts
    if not is_of_counts or before.counts == after.counts or before.saved is None or after.saved is None:
        return ""
    return f" ({_counts(before)}, now {_counts(after)})"


def _one_line(text: str) -> str:
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= _LONGEST_TITLE else f"{line[:_LONGEST_TITLE]}…"


def _linked(issue: Linked, folder: Path) -> str:
    """Return the id of a known issue, as a link if that leads somewhere."""
    if is_url(issue.link):
        return f"[{issue.id}]({issue.link})"
    # Pages are named by their paths from the root of a checkout of coldwarm. In other folders, there are none.
    return f"[{issue.id}]({os.path.relpath(issue.link, folder)})" if is_file(Path(issue.link)) else f"`{issue.id}`"
