"""Finds what changed, between two versions of the engine, in the source files that a model was traced from."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import RunFolder
from coldwarm.engines.base import load_vocabulary
from coldwarm.graphs.readable_code import sources_of
from coldwarm.trace.kinds import GraphDump, TypedRecord
from coldwarm.trace.reader import TraceFile, read_trace

_HUNK = re.compile(r"^@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@$")


@dataclass(frozen=True)
class Place:
    """A line of the engine's source code."""

    file: str
    """Relative to the folder that contains the package."""
    line: int


@dataclass(frozen=True)
class Version:
    """The source code of one version."""

    name: str
    root: Path
    """The folder that contains the package."""

    def place(self, where: str) -> Place | None:
        """Return the place of ``file:line``; None: not in this version's package."""
        file, _, line = where.rpartition(":")
        path = Path(file)
        if not line.isdigit() or not path.is_relative_to(self.root):
            return None
        return Place(str(path.relative_to(self.root)), int(line))

    def lines(self, file: str) -> list[str]:
        """Return the lines of a file; empty if this version does not have it."""
        try:
            return (self.root / file).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []


@dataclass(frozen=True)
class FileChange:
    """A file that changed."""

    file: str
    added: int
    removed: int
    """Lines of the whole file."""
    diff: list[str]
    """The lines of a unified diff of the whole file."""
    traced_only_with: str | None = None
    """The version with which the model was traced from this file, if it was not with the other."""


@dataclass(frozen=True)
class FunctionChange:
    """A function or class that changed."""

    file: str
    function: str
    """Its name, with the names of its classes: ``Model.forward``."""
    diff: list[str]
    """The lines of a unified diff of it."""


def traced_files(run: Path, version: Version, engine: str) -> list[str]:
    """Return the files of `version` that the subgraphs in the trace of a cold start came from, the most lines first."""
    vocabulary = load_vocabulary(engine).trace
    lines = _TracedLines(vocabulary.dump_prefix)
    read_trace(RunFolder(run).trace(StartKind.COLD), lines, vocabulary=vocabulary)
    counts: Counter[str] = Counter()
    for where in lines.found:
        if (place := version.place(where)) is not None:
            counts[place.file] += 1
    return [file for file, _ in counts.most_common()]


class _TracedLines:
    """A trace consumer that collects the lines of code, as ``file:line``, that the graphs of subgraphs name."""

    def __init__(self, dump_prefix: str) -> None:
        self._prefix = dump_prefix
        self.found: set[str] = set()

    def begin(self, file: TraceFile) -> None:
        """Do nothing."""

    def take(self, record: TypedRecord) -> None:
        """Process `record`."""
        if isinstance(record, GraphDump) and record.name.startswith(self._prefix):
            self.found |= {str(source) for source in sources_of(record.code)}


def changed_files(
    good: Version, bad: Version, traced_with_good: Sequence[str], traced_with_bad: Sequence[str]
) -> list[FileChange]:
    """Return the traced files that differ between two versions, those first that were traced with one of them only."""
    found = []
    for file in dict.fromkeys([*traced_with_bad, *traced_with_good]):
        diff = _diff(good, bad, file, good.lines(file), bad.lines(file))
        if not diff:
            continue
        only_with = None if file in traced_with_good else bad.name
        only_with = only_with if file in traced_with_bad else good.name
        added, removed = (sum(line.startswith(sign) for line in diff[2:]) for sign in "+-")
        found.append(FileChange(file, added, removed, diff, only_with))
    return sorted(found, key=lambda change: change.traced_only_with is None)


def changed_around(good: Version, bad: Version, place: Place) -> FunctionChange | None:
    """Return how the function of `bad` that contains `place` changed; None: it did not.

    The function of the same name in `good` is compared. If there is none, all of it is new.
    """
    after = bad.lines(place.file)
    function = _function_at(after, place.line)
    if function is None:
        return None
    before = good.lines(place.file)
    old = next((each for each in _functions(before) if each.name == function.name), None)
    diff = _diff(good, bad, place.file, old.of(before) if old else [], function.of(after))
    if not diff:
        return None
    return FunctionChange(place.file, function.name, _moved(diff, old.first - 1 if old else 0, function.first - 1))


@dataclass(frozen=True)
class _Function:
    name: str
    """With the names of its classes: ``Model.forward``."""
    first: int
    last: int

    def of(self, lines: list[str]) -> list[str]:
        """Return its lines."""
        return lines[self.first - 1 : self.last]


def _diff(good: Version, bad: Version, file: str, before: list[str], after: list[str]) -> list[str]:
    return list(unified_diff(before, after, f"{good.name}/{file}", f"{bad.name}/{file}", lineterm=""))


def _moved(diff: list[str], before: int, after: int) -> list[str]:
    """Return a diff of parts of two files with the line numbers of the files."""

    def moved(hunk: re.Match[str]) -> str:
        return f"@@ -{int(hunk[1]) + before}{hunk[2] or ''} +{int(hunk[3]) + after}{hunk[4] or ''} @@"

    return [_HUNK.sub(moved, line) for line in diff]


def _function_at(lines: list[str], line: int) -> _Function | None:
    """Return the innermost function or class that contains `line`."""
    containing = [each for each in _functions(lines) if each.first <= line <= each.last]
    return max(containing, key=lambda each: each.first, default=None)


def _functions(lines: list[str]) -> list[_Function]:
    try:
        module = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return []
    found: list[_Function] = []
    pending: list[tuple[str, ast.AST]] = [("", module)]
    while pending:
        prefix, node = pending.pop()
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}{child.name}."
                first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                found.append(_Function(name.rstrip("."), first, child.end_lineno or child.lineno))
            pending.append((name, child))
    return found
