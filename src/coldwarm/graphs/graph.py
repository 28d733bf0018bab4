"""A graph as explanations compare it: inputs, operations and outputs, without the names of the code it came from."""

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
        """Whether it belongs to a module (a parameter, a buffer), and is not handed on from the graph before."""
        return self.name.lower().startswith("l_self_") or "_modules_" in self.name

    def role(self) -> str:
        """Its name without the numbers that tell layers apart."""
        return _LAYER_NUMBER.sub("_modules_N", self.name)


@dataclass(frozen=True)
class Operation:
    """One operation."""

    name: str
    """Of its result."""
    op: str
    """What is called, or an operator."""
    text: str
    """The expression; inputs as ``i0``, results of other operations as ``r0``, by their order."""
    shape: str
    """The expression with all of those as ``_``, to align graphs of different lengths."""
    constants: tuple[str, ...]
    """In their order; of keyword arguments with their names, ``dim=-1``."""
    type: str
    source: Source | None
    written: str
    """As it was written."""


@dataclass
class Graph:
    """Inputs, operations and outputs, in their order."""

    inputs: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    """Each as operations refer to it (``r7``, ``i0``), or a constant."""

    def digest(self) -> str:
        """The same for graphs that differ in nothing but names."""
        told = [*(value.type for value in self.inputs), "->"]
        told += [f"{operation.text}: {operation.type}" for operation in self.operations]
        told += ["->", *self.outputs]
        return hashlib.sha256("\n".join(told).encode("utf-8", "replace")).hexdigest()

    def output_operations(self) -> list[Operation]:
        """The operations whose results the graph returns."""
        return [self.operations[int(name[1:])] for name in self.outputs if re.fullmatch(r"r\d+", name)]
