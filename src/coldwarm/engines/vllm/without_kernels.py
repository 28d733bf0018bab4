"""Compiles subgraphs to artifacts without kernels: the depth ``count``.

Dynamo, splitting, AOTAutograd and every cache key use the real graph. Inductor then gets a graph with the same inputs
and outputs that computes nothing, and treats it like any other: the artifact, its key, saving and loading are real. The
operation that fills the outputs is one that Inductor calls without lowering it (torch/_inductor/lowering.py,
`fallback_handler`), so that there is no code to generate.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch import fx
from torch._inductor import compile_fx
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis


@torch.library.custom_op("coldwarm::zeros", mutates_args=())  # type: ignore[untyped-decorator]
def zeros(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return zeros of this layout: the output of a subgraph without kernels."""
    return torch.empty_strided(size, stride, dtype=dtype, device=device).zero_()


@zeros.register_fake  # type: ignore[untyped-decorator]
def _(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device=device)


def leave_kernels_out() -> None:
    """Make Inductor compile every graph without its computation, from now on in this process."""
    scheme = compile_fx._InProcessFxCompile
    compile_whole = scheme.codegen_and_compile

    @functools.wraps(compile_whole)
    def codegen_and_compile(self: Any, gm: fx.GraphModule, *args: Any, **kwargs: Any) -> Any:
        return compile_whole(self, emptied(gm), *args, **kwargs)

    scheme.codegen_and_compile = codegen_and_compile


def emptied(gm: fx.GraphModule) -> fx.GraphModule:
    """Return a graph with the inputs and outputs of `gm`, in which every output that is not an input is zeros.

    Args:
        gm: An inference graph from AOTAutograd: every node has its fake value as ``meta["val"]``.
    """
    graph = _Emptied()
    for node in gm.graph.nodes:
        if node.op == "placeholder":
            graph.take_input(node)
    output = gm.graph.output_node()
    made = graph.new.output(tuple(graph.output(each) for each in output.args[0]))
    made.meta = dict(output.meta)
    result = fx.GraphModule({}, graph.new)
    result.meta.update(gm.meta)
    return result


class _Emptied:
    """The new graph while it is built."""

    def __init__(self) -> None:
        self.new = fx.Graph()
        self._inputs: dict[fx.Node, fx.Node] = {}
        self._symbols: dict[sympy.Symbol, fx.Proxy] = {}

    def take_input(self, node: fx.Node) -> None:
        """Add the same input, and record the symbol that it is, if any."""
        made = self.new.placeholder(str(node.target))
        made.meta = dict(node.meta)
        self._inputs[node] = made
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt) and isinstance(value.node.expr, sympy.Symbol):
            self._symbols[value.node.expr] = fx.Proxy(made)

    def output(self, given: object) -> object:
        """Return the replacement of an output: the same input or constant, else a node that creates zeros."""
        if not isinstance(given, fx.Node):
            return given
        if given in self._inputs:
            return self._inputs[given]
        value = given.meta["val"]
        if not isinstance(value, torch.Tensor):
            return self._size(value)
        layout = [self._size(each) for each in value.shape], [self._size(each) for each in value.stride()]
        made = self.new.call_function(torch.ops.coldwarm.zeros.default, (*layout, value.dtype, value.device))
        made.meta["val"] = value
        return made

    def _size(self, value: Any) -> Any:
        """Return a node that computes a size from the symbols among the inputs, or the size if it is a number."""
        if not isinstance(value, torch.SymInt):
            return value
        expression = value.node.expr
        if expression.is_number:
            return int(expression)
        missing = [str(symbol) for symbol in expression.free_symbols if symbol not in self._symbols]
        if missing:
            self._find_in_shapes(expression.free_symbols)
        node = sympy_interp(PythonReferenceAnalysis, self._symbols, expression).node
        node.meta.setdefault("val", value)
        return node

    def _find_in_shapes(self, symbols: set[sympy.Symbol]) -> None:
        """Add nodes that read those of `symbols` that are not inputs from the shapes of the inputs."""
        for made in self._inputs.values():
            value = made.meta.get("val")
            if not isinstance(value, torch.Tensor):
                continue
            for dimension, size in enumerate(value.shape):
                symbol = size.node.expr if isinstance(size, torch.SymInt) else None
                if symbol in symbols and symbol not in self._symbols:
                    node = self.new.call_function(torch.ops.aten.sym_size.int, (made, dimension))
                    node.meta["val"] = size
                    self._symbols[symbol] = fx.Proxy(node)
