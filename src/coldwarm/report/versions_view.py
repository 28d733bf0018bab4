"""Writes tables of versions and models as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from coldwarm.checks.verdict import Status
from coldwarm.engines.base import load_vocabulary
from coldwarm.suite.versions import Cell, Change, Comparison, VersionTable

_HEADINGS = {"new": "Broke", "gone": "Fixed", "changed": "Changed"}
_LONGEST_TITLE = 300


def versions_as_markdown(tables: Sequence[VersionTable], folder: Path) -> str:
    """Return the tables, and below each what every version changed.

    Args:
        tables: The tables.
        folder: The folder of the file to be written, from which links lead to pages of this repository.
    """
    parts = [
        "# Versions",
        "Printed by `coldwarm versions`. Each cell has the number of artifacts that the cold start saved, that of the "
        "artifacts that the warm start loaded, and the verdict unless it is `passed`.",
    ]
    for table in tables:
        parts += [f"## {_title(table)}", _table(table)]
        for number in range(1, len(table.columns)):
            parts += _changes(table, number, folder)
    return "\n\n".join(parts) + "\n"


def comparison_as_markdown(comparison: Comparison, folder: Path) -> str:
    """Return what changed: versions, then what broke, then the rest. Links are as in `versions_as_markdown`."""
    parts = []
    if comparison.packages:
        lines = [
            f"- {name}: {before or 'none'}, now {after or 'none'}"
            for name, (before, after) in comparison.packages.items()
        ]
        parts.append("\n".join(["Versions:", "", *lines]))
    parts += _lists(comparison.changes, folder)
    for heading, names in (("New", comparison.added), ("Not run", comparison.missing)):
        parts += [f"{heading}: {', '.join(names)}."] if names else []
    if not comparison.changes:
        number = len(comparison.compared)
        parts.append(f"No verdict and no count changed in {number} {'run' if number == 1 else 'runs'}.")
    return "\n\n".join(["## Changes since the last accepted run", *parts]) + "\n"


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
        lines.append(_row([model, *(_cell(column.cells.get(model)) for column in table.columns)]))
    measured = [f"- {column.version}: {', '.join(f'`{name}`' for name in column.suites)}" for column in table.columns]
    return "\n".join([*lines, "", "Measured in:", "", *measured])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    verdict = "" if cell.status is Status.PASSED else str(cell.status)
    if cell.not_compiled is not None:
        return f"not compiled {verdict}".strip()
    return f"{_counts(cell)} {verdict}".strip()


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
    return f"[{change.issue.id}]({_link(change.issue.link, folder)}): {_one_line(change.what)}: {models}"


def _difference(change: Change, before: Cell, after: Cell) -> str:
    is_of_counts = change.issue is None or change.issue.id in before.of_counts | after.of_counts
    if not is_of_counts or before.counts == after.counts or before.saved is None or after.saved is None:
        return ""
    return f" ({_counts(before)}, now {_counts(after)})"


def _one_line(text: str) -> str:
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= _LONGEST_TITLE else f"{line[:_LONGEST_TITLE]}…"


def _link(link: str, folder: Path) -> str:
    # Pages of this repository are named by their paths from its root.
    return link if "://" in link else os.path.relpath(link, folder)
