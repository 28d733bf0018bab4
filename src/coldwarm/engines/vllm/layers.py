"""Derives the kinds of layers of a started model, from their classes and parameter shapes."""

from __future__ import annotations

from collections import Counter

from torch import nn
from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper

from coldwarm.starts.record import LayerKind

Signature = tuple[str, tuple[tuple[str, tuple[int, ...], str], ...]]


def layer_kinds(model: nn.Module) -> list[LayerKind]:
    """Return the kinds of layers in the parts of `model` that vLLM compiles, in order of first appearance.

    Two layers are of one kind if they are of one class and their parameters have the same names, shapes and
    types: what the compiler sees of them can then be the same.
    """
    layers: Counter[Signature] = Counter()
    for part in model.modules():
        if isinstance(part, TorchCompileWithNoGuardsWrapper) and not part.do_not_compile:
            for child in part.children():
                if isinstance(child, nn.ModuleList):
                    layers.update(_signature(layer) for layer in child if next(layer.parameters(), None) is not None)
    return [LayerKind(layer_class=kind[0], layers=n, parameters=len(kind[1])) for kind, n in layers.items()]


def _signature(layer: nn.Module) -> Signature:
    parameters = sorted((name, tuple(p.shape), str(p.dtype)) for name, p in layer.named_parameters())
    return type(layer).__name__, tuple(parameters)
