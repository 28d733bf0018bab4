"""Keeps the graphs of subgraphs that should share an artifact and do not, side by side, for reports.

A trace is large and often removed, so an explanation stores these lines. Their number and length are limited.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from coldwarm.diagnose.sharing import graphs_to_compare, unshared
from coldwarm.graphs.graph import Source
from coldwarm.graphs.side_by_side import Line, Side, Span, side_by_side
from coldwarm.graphs.subgraphs import CompiledModel

MOST_PAIRS = 16
"""The most pairs of graphs that an explanation has."""
MOST_LINES = 160
"""Of a pair with more lines, only those near a difference are kept, and at most this many."""
LONGEST_TEXT = 400
"""Characters of a line that are kept."""
_CONTEXT = 4
"""Lines that are kept before and after a difference."""


class ComparedSide(BaseModel):
    """A line of one of the graphs."""

    text: str
    marks: list[Span] = Field(default_factory=list)
    """The parts that the other graph does not have, as begin and end in characters."""


class ComparedLine(BaseModel):
    """Corresponding lines of two graphs: an input, an operation, or the outputs."""

    one: ComparedSide | None = None
    """None: the graph has no such line."""
    other: ComparedSide | None = None
    differs: bool = False
    """Whether more than names differs."""
    source: int | None = None
    """The number of the line of code in `ComparedGraphs.sources`; None: not known."""
    skipped: int = 0
    """How many lines before this one were left out."""


class SourceLine(BaseModel):
    """A line of the model's code."""

    where: str
    """As ``file:line``."""
    code: str


class ComparedGraphs(BaseModel):
    """The graphs of two groups of subgraphs that should be one group."""

    model: int
    """The number of the compiled model in `Explanation.models`."""
    part: str
    """The name of the part of the model, such as ``MoE layer``."""
    one: str
    """The first subgraph of the group that is not shared."""
    other: str
    """The first subgraph of the group that it is compared with."""
    lines: list[ComparedLine] = Field(default_factory=list)
    sources: list[SourceLine] = Field(default_factory=list)
    skipped: int = 0
    """How many lines were left out at the end."""


def compared_graphs(models: Sequence[CompiledModel]) -> list[ComparedGraphs]:
    """Return the graphs that prevent sharing, each beside the most common one; at most `MOST_PAIRS`."""
    found: list[ComparedGraphs] = []
    for number, model in enumerate(models):
        for part in unshared(model):
            common = part.common
            for one in part.groups:
                if one is common or not (one.code and common.code):
                    continue
                if len(found) == MOST_PAIRS:
                    return found
                lines = side_by_side(*graphs_to_compare(one, common, by_launches=part.by_launches))
                names = [each.members[0].start.submodule for each in (one, common)]
                found.append(_kept(lines, ComparedGraphs(model=number, part=part.name, one=names[0], other=names[1])))
    return found


def _kept(lines: Sequence[Line], graphs: ComparedGraphs) -> ComparedGraphs:
    """Return `graphs` with the lines that are kept, and their sources."""
    kept = range(len(lines)) if len(lines) <= MOST_LINES else _near_differences(lines)[:MOST_LINES]
    sources: dict[Source, int] = {}
    found, last = [], -1
    for number in kept:
        line = lines[number]
        found.append(
            ComparedLine(
                one=_side(line.one),
                other=_side(line.other),
                differs=line.differs,
                source=None if line.source is None else sources.setdefault(line.source, len(sources)),
                skipped=number - last - 1,
            )
        )
        last = number
    where = [SourceLine(where=str(each), code=each.code[:LONGEST_TEXT]) for each in sources]
    return graphs.model_copy(update={"lines": found, "sources": where, "skipped": len(lines) - last - 1})


def _near_differences(lines: Sequence[Line]) -> list[int]:
    different = [number for number, line in enumerate(lines) if line.differs]
    near = {near for number in different for near in range(number - _CONTEXT, number + _CONTEXT + 1)}
    return sorted(near & set(range(len(lines)))) or list(range(len(lines)))


def _side(side: Side | None) -> ComparedSide | None:
    if side is None:
        return None
    if len(side.text) <= LONGEST_TEXT:
        return ComparedSide(text=side.text, marks=list(side.marks))
    marks = [(begin, min(end, LONGEST_TEXT)) for begin, end in side.marks if begin < LONGEST_TEXT]
    return ComparedSide(text=f"{side.text[:LONGEST_TEXT]}…", marks=marks)
