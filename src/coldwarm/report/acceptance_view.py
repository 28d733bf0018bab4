"""Shows what was decided on runs whose expectations are accepted, and the changes of catalog files."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from coldwarm.report.findings import as_one_line
from coldwarm.suite.acceptance import Acceptance, Decision, FileChange


def print_acceptances(console: Console, decided: Sequence[Acceptance]) -> None:
    """Print the decision on each run, with its reasons."""
    for each in decided:
        for line in _lines(each):
            console.print(as_one_line(line), soft_wrap=True)
    counts = Counter(each.decision for each in decided)
    console.print(", ".join(f"{counts[decision]} {decision}" for decision in Decision if counts[decision]))


def print_diff(console: Console, changes: Sequence[FileChange]) -> None:
    """Print the changes of catalog files as a unified diff."""
    for change in changes:
        for line in unified_diff(change):
            console.print(line, soft_wrap=True, style=_style(line) if console.is_terminal else None)


def unified_diff(change: FileChange) -> list[str]:
    """Return the lines of the unified diff of a file, without line breaks."""
    path = _shown(change.path)
    before, after = change.before.splitlines(), change.after.splitlines()
    return [line.rstrip("\n") for line in difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")]


def _lines(each: Acceptance) -> Iterator[str]:
    conditions = f" ({each.when})" if each.when is not None else ""
    yield f"{each.run}{conditions}: {each.decision}"
    yield from (f"  {'' if reason.startswith(' ') else '- '}{reason}" for reason in each.reasons)
    if each.decision is Decision.NEW:
        compared = each.compared_with
        if compared is None:
            yield "  the first expectation for this platform"
        else:
            yield f"  {'differs from' if each.changes else 'the same counters as'} {compared}"
    yield from (f"  {change.name}: {change.old} -> {change.new}" for change in each.changes)
    yield from (f"  why: {why}" for why in each.why)
    yield from (f"  to do: {to_do}" for to_do in each.to_do)


def _shown(path: Path) -> Path:
    return path.resolve().relative_to(Path.cwd()) if path.resolve().is_relative_to(Path.cwd()) else path


def _style(line: str) -> str | None:
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
