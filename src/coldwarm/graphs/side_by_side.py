"""Lays two graphs out side by side, line by line, and marks what differs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from coldwarm.graphs.differences import aligned
from coldwarm.graphs.graph import Graph, Operation, Source, Value

_TOKEN = re.compile(r"\d+\.\d*(?:[eE][-+]?\d+)?|\w+|\s+|.", re.DOTALL)
_REFERENCE = re.compile(r"([ir])(\d+)")

Span = tuple[int, int]
"""The begin and the end of a part of a line, in characters."""


@dataclass(frozen=True)
class Side:
    """A line of one of the graphs."""

    text: str
    marks: tuple[Span, ...] = ()
    """The parts that the other graph does not have; empty: the lines differ in names only, or the whole line does."""


@dataclass(frozen=True)
class Line:
    """Corresponding lines of two graphs: an input, an operation, or the outputs."""

    one: Side | None
    """None: the graph has no such line."""
    other: Side | None
    differs: bool
    source: Source | None = None
    """The line of the model's code that the operation was traced from."""


def side_by_side(one: Graph, other: Graph) -> list[Line]:
    """Return the lines of two graphs: inputs, operations, outputs. Names and layer numbers do not count as different.

    If nothing but the wiring of operations differs, the first operation with other arguments is marked.
    """
    names = _names(one), _names(other)
    lines = [_input_line(*pair, names) for pair in _aligned_inputs(one.inputs, other.inputs)]
    pairs = list(aligned(one.operations, other.operations))
    lines += [_operation_line(*pair, names) for pair in pairs]
    outputs = _outputs(one), _outputs(other)
    lines.append(_line(*outputs, names, differs=len(one.outputs) != len(other.outputs), source=None))
    if not any(line.differs for line in lines):
        _mark_wiring(lines, pairs, first=len(lines) - len(pairs) - 1)
    return lines


def _aligned_inputs(one: Sequence[Value], other: Sequence[Value]) -> Iterator[tuple[Value | None, Value | None]]:
    matcher = SequenceMatcher(None, [_kind(each) for each in one], [_kind(each) for each in other], autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal" or (tag == "replace" and i2 - i1 == j2 - j1):
            yield from zip(one[i1:i2], other[j1:j2], strict=True)
        else:
            yield from ((each, None) for each in one[i1:i2])
            yield from ((None, each) for each in other[j1:j2])


def _kind(value: Value) -> tuple[str, str]:
    return value.role() if value.is_of_module() else "", value.type


def _input_line(one: Value | None, other: Value | None, names: tuple[set[str], set[str]]) -> Line:
    ours, theirs = (None if value is None else f"{value.name}: {value.type}" for value in (one, other))
    return _line(ours, theirs, names, differs=one is None or other is None or _kind(one) != _kind(other), source=None)


def _operation_line(one: Operation | None, other: Operation | None, names: tuple[set[str], set[str]]) -> Line:
    differs = one is None or other is None or (one.shape, one.type) != (other.shape, other.type)
    source = (one.source if one else None) or (other.source if other else None)
    return _line(_written(one), _written(other), names, differs=differs, source=source)


def _written(operation: Operation | None) -> str | None:
    if operation is None:
        return None
    target = operation.name + (f": {operation.type}" if operation.type else "")
    return f"{target} = {operation.written}" if operation.name else operation.written


def _outputs(graph: Graph) -> str:
    return f"return {', '.join(_name(output, graph) for output in graph.outputs)}"


def _name(reference: str, graph: Graph) -> str:
    """Return the name of what ``r7`` or ``i0`` refers to; a constant as it is."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        return reference
    number = int(found[2])
    return graph.inputs[number].name if found[1] == "i" else graph.operations[number].name


def _names(graph: Graph) -> set[str]:
    return {each.name for each in graph.inputs} | {each.name for each in graph.operations if each.name}


def _line(
    one: str | None, other: str | None, names: tuple[set[str], set[str]], *, differs: bool, source: Source | None
) -> Line:
    if one is None or other is None:
        return Line(_side(one), _side(other), True, source)
    if not differs:
        return Line(Side(one), Side(other), False, source)
    tokens = _TOKEN.findall(one), _TOKEN.findall(other)
    # Names that differ are not what makes the lines different.
    ours, theirs = (["_" if t in own else t for t in found] for found, own in zip(tokens, names, strict=True))
    changes = [each for each in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes() if each[0] != "equal"]
    return Line(
        Side(one, tuple(_span(tokens[0], i1, i2) for _, i1, i2, _, _ in changes if i1 < i2)),
        Side(other, tuple(_span(tokens[1], j1, j2) for _, _, _, j1, j2 in changes if j1 < j2)),
        True,
        source,
    )


def _side(text: str | None) -> Side | None:
    return None if text is None else Side(text)


def _span(tokens: Sequence[str], begin: int, end: int) -> Span:
    before = sum(map(len, tokens[:begin]))
    return before, before + sum(map(len, tokens[begin:end]))


def _mark_wiring(lines: list[Line], pairs: Sequence[tuple[Operation | None, Operation | None]], *, first: int) -> None:
    for number, (one, other) in enumerate(pairs):
        if one is not None and other is not None and one.text != other.text:
            line = lines[first + number]
            lines[first + number] = Line(line.one, line.other, True, line.source)
            return
