"""A graph for comparisons: inputs, operations and outputs, independent of names in the code."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

_LAYER_NUMBER = re.compile(r"_modules_\d+(?=_)")


@dataclass(frozen=True)
class Source:
    """The line of the model's code that an operation was traced from."""

    file: str
    line: int
    function: str
    code: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Value:
    """An input of a graph."""

    name: str
    type: str
    """``bf16[s72, 256]``, or with strides and device ``bf16[s72, 256][256, 1]cpu``; ``Sym(s72)`` for a number."""

    def is_of_module(self) -> bool:
        """Return whether it belongs to a module (a parameter, a buffer), and is not the result of an earlier graph."""
        return self.name.lower().startswith("l_self_") or "_modules_" in self.name

    def role(self) -> str:
        """Return the name without layer numbers."""
        return _LAYER_NUMBER.sub("_modules_N", self.name)


@dataclass(frozen=True)
class Operation:
    """An operation of a graph."""

    name: str
    """The name of its result."""
    op: str
    """The called function, or an operator."""
    text: str
    """The expression, with inputs as ``i0`` and results of other operations as ``r0``, by their order."""
    shape: str
    """The expression with all inputs and results as ``_``, to align graphs of different lengths."""
    constants: tuple[str, ...]
    """The constants in order; those of keyword arguments with their names, ``dim=-1``."""
    type: str
    source: Source | None
    written: str
    """The original expression."""


@dataclass
class Graph:
    """Inputs, operations and outputs, in order."""

    inputs: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    """References to results and inputs (``r7``, ``i0``), or constants."""

    def digest(self) -> str:
        """Return a digest that is equal for graphs that differ only in names."""
        lines = [*(value.type for value in self.inputs), "->"]
        lines += [f"{operation.text}: {operation.type}" for operation in self.operations]
        lines += ["->", *self.outputs]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()

    def output_operations(self) -> list[Operation]:
        """Return the operations whose results the graph returns."""
        return [self.operations[int(name[1:])] for name in self.outputs if re.fullmatch(r"r\d+", name)]
