"""What keeps two graphs apart that should be one: aligned operation by operation."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from coldwarm.graphs.graph import Graph, Operation, Source, Value


@dataclass
class Difference:
    """One thing that one graph has otherwise than the other.

    The graphs are ``one`` and ``other``; the texts that a reader sees are made where their names are known.
    """

    kind: str
    """``handed on``, ``operation``, ``constant``, ``type``, ``input``, ``output``, ``wiring``."""
    one: str | None
    """What the one graph has; None: nothing in its place."""
    other: str | None
    source: Source | None
    site: tuple[str, ...] = field(default=())
    """The same for the same difference in other graphs."""


def differences(one: Graph, other: Graph) -> list[Difference]:
    """Return what `one` has otherwise than `other`, the most telling first; empty where they differ in names alone.

    Most telling is what is computed, and constants; types come after the inputs that they follow from.
    """
    operations = list(_operations_apart(one.operations, other.operations))
    handed_on, explained = _handed_on(one, other, operations)
    rest = [each for each in operations if each.site not in explained]
    computed = [each for each in rest if each.kind != "type"]
    types = [each for each in rest if each.kind == "type"]
    inputs = list(_inputs_apart(one, other, handed_on))
    found = [*handed_on, *computed, *inputs, *types, *_outputs_apart(one, other, handed_on)]
    return found or _wiring_apart(one, other)


def _operations_apart(one: list[Operation], other: list[Operation]) -> Iterator[Difference]:
    for ours, theirs in _aligned(one, other):
        if ours is not None and theirs is not None:
            yield from _pair_apart(ours, theirs)
        elif ours is not None:
            yield Difference("operation", _told(ours), None, ours.source, _site(ours))
        elif theirs is not None:
            yield Difference("operation", None, _told(theirs), theirs.source, _site(theirs))


def _aligned(one: list[Operation], other: list[Operation]) -> Iterator[tuple[Operation | None, Operation | None]]:
    """Pairs of operations that stand in each other's place; None where one has none."""
    whole = SequenceMatcher(None, [_exact(each) for each in one], [_exact(each) for each in other], autojunk=False)
    for tag, i1, i2, j1, j2 in whole.get_opcodes():
        if tag != "equal":
            yield from _aligned_by_op(one[i1:i2], other[j1:j2])


def _aligned_by_op(one: list[Operation], other: list[Operation]) -> Iterator[tuple[Operation | None, Operation | None]]:
    by_op = SequenceMatcher(None, [each.op for each in one], [each.op for each in other], autojunk=False)
    for tag, i1, i2, j1, j2 in by_op.get_opcodes():
        if tag == "equal":
            yield from zip(one[i1:i2], other[j1:j2], strict=True)
        else:
            yield from ((each, None) for each in one[i1:i2])
            yield from ((None, each) for each in other[j1:j2])


def _pair_apart(ours: Operation, theirs: Operation) -> Iterator[Difference]:
    source = ours.source or theirs.source
    if ours.shape != theirs.shape:
        if len(ours.constants) == len(theirs.constants) and _without_constants(ours) == _without_constants(theirs):
            for number, (a, b) in enumerate(zip(ours.constants, theirs.constants, strict=True)):
                if a != b:
                    yield Difference("constant", a, b, source, ("constant", *_site(theirs)[1:], str(number)))
        else:
            yield Difference("operation", _told(ours), _told(theirs), source, _site(theirs))
    if ours.type != theirs.type:
        yield Difference(
            "type",
            f"{ours.type} of {ours.written}",
            f"{theirs.type} of {theirs.written}",
            source,
            ("type", *_site(theirs)[1:]),
        )


def _handed_on(one: Graph, other: Graph, operations: list[Difference]) -> tuple[list[Difference], set[tuple[str, ...]]]:
    """Values that one graph computes and returns, where the other has them as an input; and what that explains."""
    found: list[Difference] = []
    explained: set[tuple[str, ...]] = set()
    for computing, taking, is_one in ((one, other, True), (other, one, False)):
        extra_inputs = Counter(value.type for value in taking.inputs)
        extra_inputs.subtract(value.type for value in computing.inputs)
        for operation in computing.output_operations():
            site = _site(operation)
            alone = any(each.site == site and (each.other if is_one else each.one) is None for each in operations)
            if alone and extra_inputs[operation.type] > 0 and operation.type:
                told = _told(operation)
                ours, theirs = (told, None) if is_one else (None, told)
                found.append(Difference("handed on", ours, theirs, operation.source, ("handed on", *site[1:])))
                explained.add(site)
                extra_inputs[operation.type] -= 1
    return found, explained


def _inputs_apart(one: Graph, other: Graph, handed_on: list[Difference]) -> Iterator[Difference]:
    ours, theirs = _inputs(one), _inputs(other)
    for difference in handed_on:
        taking = theirs if difference.one else ours
        type_ = (difference.one or difference.other or "").rsplit(" -> ", 1)[-1]
        taken = next((told for told in taking if told[1] == type_ and taking[told] > 0), None)
        if taken is not None:
            taking[taken] -= 1
    if _types(ours) == _types(theirs):
        if not handed_on:
            yield from _input_order_apart(one, other)
        return
    more, fewer = ours - theirs, theirs - ours
    for role, type_ in sorted(more):
        instead = next((told for told in sorted(fewer) if told[0] == role), None)
        if instead is not None:
            del fewer[instead]
        yield Difference(
            "input",
            _input_told(role, type_),
            None if instead is None else _input_told(*instead),
            None,
            ("input", role, type_),
        )
    for role, type_ in sorted(fewer):
        yield Difference("input", None, _input_told(role, type_), None, ("input", role, type_))


def _input_order_apart(one: Graph, other: Graph) -> Iterator[Difference]:
    for a, b in zip(one.inputs, other.inputs, strict=False):
        if a.type != b.type:
            told = f"{a.type} before {b.type}", f"{b.type} before {a.type}"
            yield Difference("input", *told, None, ("input", "order"))
            return


def _outputs_apart(one: Graph, other: Graph, handed_on: list[Difference]) -> Iterator[Difference]:
    ours = len(one.outputs) - sum(1 for each in handed_on if each.one)
    theirs = len(other.outputs) - sum(1 for each in handed_on if each.other)
    if ours != theirs:
        yield Difference(
            "output", f"{len(one.outputs)} outputs", f"{len(other.outputs)} outputs", None, ("output", "number")
        )


def _wiring_apart(one: Graph, other: Graph) -> list[Difference]:
    for ours, theirs in zip(one.operations, other.operations, strict=False):
        if ours.text != theirs.text:
            return [Difference("wiring", _told(ours), _told(theirs), ours.source, ("wiring", *_site(theirs)[1:]))]
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
    """Puts one name in the place of every constant that `Operation.constants` tells."""

    def visit_Constant(self, node: ast.Constant) -> ast.Name:
        return ast.Name("constant", ast.Load())

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        operand = self.visit(node.operand)
        return operand if isinstance(operand, ast.Name) and operand.id == "constant" else node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("constant", node.ctx) if node.id in ("inf", "nan") else node


def _site(operation: Operation) -> tuple[str, ...]:
    """Where an operation stands, the same in every layer."""
    return "operation", str(operation.source), operation.name, operation.op


def _told(operation: Operation) -> str:
    return operation.written + (f" -> {operation.type}" if operation.type else "")


def _inputs(graph: Graph) -> Counter[tuple[str, str]]:
    return Counter(_input(value) for value in graph.inputs)


def _types(inputs: Counter[tuple[str, str]]) -> Counter[str]:
    types: Counter[str] = Counter()
    for (_, type_), number in inputs.items():
        types[type_] += number
    return +types


def _input(value: Value) -> tuple[str, str]:
    """What an input is, without what tells layers apart; of what is handed on, the type alone."""
    return (value.role() if value.is_of_module() else "", value.type)


def _input_told(role: str, type_: str) -> str:
    return f"{role}: {type_}" if role else type_
