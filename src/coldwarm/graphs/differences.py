"""Finds the differences between two graphs that should be identical, aligned operation by operation."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from coldwarm.graphs.graph import Graph, Operation, Source, Value


@dataclass
class Difference:
    """A difference between two graphs, ``one`` and ``other``.

    The caller, which knows the names of the graphs, formats it for readers.
    """

    kind: str
    """``operation``, ``constant``, ``type``, ``input``, ``output``, ``wiring``, or ``passed on``: a value that one
    graph computes and the other one takes as an input."""
    one: str | None
    """What graph ``one`` has; None: nothing."""
    other: str | None
    source: Source | None
    site: tuple[str, ...] = field(default=())
    """Identifies the same difference in other graphs."""


def differences(one: Graph, other: Graph) -> list[Difference]:
    """Return the differences between `one` and `other`, the most informative first; empty if only names differ.

    Operations and constants come first, and types after the inputs from which they follow.
    """
    operations = list(_operation_differences(one.operations, other.operations))
    passed_on, explained = _passed_on(one, other, operations)
    rest = [each for each in operations if each.site not in explained]
    computed = [each for each in rest if each.kind != "type"]
    types = [each for each in rest if each.kind == "type"]
    inputs = list(_input_differences(one, other, passed_on))
    found = [*passed_on, *computed, *inputs, *types, *_output_differences(one, other, passed_on)]
    return found or _wiring_difference(one, other)


def _operation_differences(one: list[Operation], other: list[Operation]) -> Iterator[Difference]:
    for ours, theirs in aligned(one, other):
        if ours is not None and theirs is not None:
            yield from _pair_differences(ours, theirs)
        elif ours is not None:
            yield Difference("operation", _describe(ours), None, ours.source, _site(ours))
        elif theirs is not None:
            yield Difference("operation", None, _describe(theirs), theirs.source, _site(theirs))


def aligned(one: list[Operation], other: list[Operation]) -> Iterator[tuple[Operation | None, Operation | None]]:
    """Yield pairs of corresponding operations, in order; None if one graph has none."""
    whole = SequenceMatcher(None, [_exact(each) for each in one], [_exact(each) for each in other], autojunk=False)
    for tag, i1, i2, j1, j2 in whole.get_opcodes():
        if tag == "equal":
            yield from zip(one[i1:i2], other[j1:j2], strict=True)
        else:
            yield from _aligned_by_op(one[i1:i2], other[j1:j2])


def _aligned_by_op(one: list[Operation], other: list[Operation]) -> Iterator[tuple[Operation | None, Operation | None]]:
    by_op = SequenceMatcher(None, [each.op for each in one], [each.op for each in other], autojunk=False)
    for tag, i1, i2, j1, j2 in by_op.get_opcodes():
        if tag == "equal":
            yield from zip(one[i1:i2], other[j1:j2], strict=True)
        else:
            yield from ((each, None) for each in one[i1:i2])
            yield from ((None, each) for each in other[j1:j2])


def _pair_differences(ours: Operation, theirs: Operation) -> Iterator[Difference]:
    source = ours.source or theirs.source
    if ours.shape != theirs.shape:
        if len(ours.constants) == len(theirs.constants) and _without_constants(ours) == _without_constants(theirs):
            for number, (a, b) in enumerate(zip(ours.constants, theirs.constants, strict=True)):
                if a != b:
                    yield Difference("constant", a, b, source, ("constant", *_site(theirs)[1:], str(number)))
        else:
            yield Difference("operation", _describe(ours), _describe(theirs), source, _site(theirs))
    if ours.type != theirs.type:
        yield Difference(
            "type",
            f"{ours.type} of {ours.written}",
            f"{theirs.type} of {theirs.written}",
            source,
            ("type", *_site(theirs)[1:]),
        )


def _passed_on(one: Graph, other: Graph, operations: list[Difference]) -> tuple[list[Difference], set[tuple[str, ...]]]:
    """Return values that one graph computes and the other takes as an input, and the sites that this explains."""
    found: list[Difference] = []
    explained: set[tuple[str, ...]] = set()
    for computing, taking, is_one in ((one, other, True), (other, one, False)):
        extra_inputs = Counter(value.type for value in taking.inputs)
        extra_inputs.subtract(value.type for value in computing.inputs)
        for operation in computing.output_operations():
            site = _site(operation)
            is_only_in_one = any(
                each.site == site and (each.other if is_one else each.one) is None for each in operations
            )
            if is_only_in_one and extra_inputs[operation.type] > 0 and operation.type:
                text = _describe(operation)
                ours, theirs = (text, None) if is_one else (None, text)
                found.append(Difference("passed on", ours, theirs, operation.source, ("passed on", *site[1:])))
                explained.add(site)
                extra_inputs[operation.type] -= 1
    return found, explained


def _input_differences(one: Graph, other: Graph, passed_on: list[Difference]) -> Iterator[Difference]:
    ours, theirs = _inputs(one), _inputs(other)
    for difference in passed_on:
        taking = theirs if difference.one else ours
        type_ = (difference.one or difference.other or "").rsplit(" -> ", 1)[-1]
        taken = next((each for each in taking if each[1] == type_ and taking[each] > 0), None)
        if taken is not None:
            taking[taken] -= 1
    if _types(ours) == _types(theirs):
        if not passed_on:
            yield from _input_order_difference(one, other)
        return
    more, fewer = ours - theirs, theirs - ours
    for role, type_ in sorted(more):
        instead = next((each for each in sorted(fewer) if each[0] == role), None)
        if instead is not None:
            del fewer[instead]
        yield Difference(
            "input",
            _describe_input(role, type_),
            None if instead is None else _describe_input(*instead),
            None,
            ("input", role, type_),
        )
    for role, type_ in sorted(fewer):
        yield Difference("input", None, _describe_input(role, type_), None, ("input", role, type_))


def _input_order_difference(one: Graph, other: Graph) -> Iterator[Difference]:
    for a, b in zip(one.inputs, other.inputs, strict=False):
        if a.type != b.type:
            order = f"{a.type} before {b.type}", f"{b.type} before {a.type}"
            yield Difference("input", *order, None, ("input", "order"))
            return


def _output_differences(one: Graph, other: Graph, passed_on: list[Difference]) -> Iterator[Difference]:
    ours = len(one.outputs) - sum(1 for each in passed_on if each.one)
    theirs = len(other.outputs) - sum(1 for each in passed_on if each.other)
    if ours != theirs:
        yield Difference(
            "output", f"{len(one.outputs)} outputs", f"{len(other.outputs)} outputs", None, ("output", "number")
        )


def _wiring_difference(one: Graph, other: Graph) -> list[Difference]:
    for ours, theirs in zip(one.operations, other.operations, strict=False):
        if ours.text != theirs.text:
            return [
                Difference("wiring", _describe(ours), _describe(theirs), ours.source, ("wiring", *_site(theirs)[1:]))
            ]
    if one.outputs != other.outputs:
        return [Difference("output", ", ".join(one.outputs), ", ".join(other.outputs), None, ("output", "which"))]
    return []


def _exact(operation: Operation) -> tuple[str, str, str]:
    return operation.op, operation.shape, operation.type


def _without_constants(operation: Operation) -> str:
    try:
        return ast.unparse(_ConstantMask().visit(ast.parse(operation.shape)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return operation.shape


class _ConstantMask(ast.NodeTransformer):
    """Replaces every constant in `Operation.constants` by the same name."""

    def visit_Constant(self, node: ast.Constant) -> ast.Name:
        return ast.Name("constant", ast.Load())

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        operand = self.visit(node.operand)
        return operand if isinstance(operand, ast.Name) and operand.id == "constant" else node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("constant", node.ctx) if node.id in ("inf", "nan") else node


def _site(operation: Operation) -> tuple[str, ...]:
    """Return the site of an operation, which is the same in every layer."""
    return "operation", str(operation.source), operation.name, operation.op


def _describe(operation: Operation) -> str:
    return operation.written + (f" -> {operation.type}" if operation.type else "")


def _inputs(graph: Graph) -> Counter[tuple[str, str]]:
    return Counter(_input(value) for value in graph.inputs)


def _types(inputs: Counter[tuple[str, str]]) -> Counter[str]:
    types: Counter[str] = Counter()
    for (_, type_), number in inputs.items():
        types[type_] += number
    return +types


def _input(value: Value) -> tuple[str, str]:
    """Return the role and the type of an input; the role of values from other graphs is empty."""
    return (value.role() if value.is_of_module() else "", value.type)


def _describe_input(role: str, type_: str) -> str:
    return f"{role}: {type_}" if role else type_
