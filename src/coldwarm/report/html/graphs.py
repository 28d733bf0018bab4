"""Lays out two graphs side by side: lines with marked parts, identical ones folded away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from coldwarm.diagnose.compared_graphs import ComparedGraphs, ComparedLine, ComparedSide, SourceLine

_CONTEXT = 2
"""Identical lines that are shown before and after a difference."""
_FEWEST_FOLDED = 3


@dataclass(frozen=True)
class Part:
    """A part of a line."""

    text: str
    marked: bool


@dataclass(frozen=True)
class Row:
    """Corresponding lines."""

    one: list[Part] | None
    """None: the graph has no such line."""
    other: list[Part] | None
    differs: bool
    source: SourceLine | None
    """The line of the model's code; only of a difference, and only of the first from this line."""
    skipped: int
    """How many lines before it were not recorded."""


@dataclass(frozen=True)
class Block:
    """Rows that are shown or folded away together."""

    rows: list[Row]
    folded: bool

    @property
    def skipped(self) -> int:
        """How many of its lines were not recorded."""
        return sum(row.skipped for row in self.rows)


@dataclass(frozen=True)
class SideBySide:
    """Two graphs side by side."""

    one: str
    other: str
    part: str
    blocks: list[Block]
    skipped: int
    """How many lines at the end were not recorded."""
    differences: int
    """How many lines differ."""

    @classmethod
    def of(cls, graphs: ComparedGraphs) -> Self:
        """Lay out the stored lines."""
        rows = list(_rows(graphs))
        return cls(
            one=graphs.one,
            other=graphs.other,
            part=graphs.part,
            blocks=list(_blocks(rows)),
            skipped=graphs.skipped,
            differences=sum(row.differs for row in rows),
        )


def _rows(graphs: ComparedGraphs) -> Iterator[Row]:
    shown: int | None = None
    for line in graphs.lines:
        is_new = line.differs and line.source is not None and line.source != shown
        shown = line.source if line.differs else shown
        source = graphs.sources[line.source] if is_new and line.source is not None else None
        yield Row(_parts(line.one, line), _parts(line.other, line), line.differs, source, line.skipped)


def _parts(side: ComparedSide | None, line: ComparedLine) -> list[Part] | None:
    if side is None:
        return None
    if line.one is None or line.other is None:
        return [Part(side.text, True)]
    parts, end = [], 0
    for begin, stop in side.marks:
        parts += [Part(side.text[end:begin], False), Part(side.text[begin:stop], True)]
        end = stop
    return [part for part in [*parts, Part(side.text[end:], False)] if part.text]


def _blocks(rows: Sequence[Row]) -> Iterator[Block]:
    different = [number for number, row in enumerate(rows) if row.differs]
    near = {n for number in different for n in range(number - _CONTEXT, number + _CONTEXT + 1)}
    begin = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or (end in near) != (begin in near):
            part = list(rows[begin:end])
            yield Block(part, folded=bool(different) and begin not in near and len(part) >= _FEWEST_FOLDED)
            begin = end
