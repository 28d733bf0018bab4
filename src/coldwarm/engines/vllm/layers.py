"""Describes the layers of a started model: their kinds by class and parameters, and how each is configured."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from torch import nn
from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase

from coldwarm.core.record import LayerKind

Signature = tuple[str, tuple[tuple[str, tuple[int, ...], str], ...]]
Setting = tuple[str, str]
"""A submodule below a layer and the name of its attribute; of a submodule itself, its path and an empty name."""

# From this many layers on, an attribute that is different in each of them is taken for the layer's index.
_FEWEST_TO_TELL_AN_INDEX = 3
_NUMBER = "a number"
_DIGITS = re.compile(r"\d+")


def layers_of(model: nn.Module) -> tuple[list[LayerKind], dict[str, int]]:
    """Return the kinds of layers of `model` and the configuration of each layer."""
    return layer_kinds(model), layer_configurations(model)


def layer_kinds(model: nn.Module) -> list[LayerKind]:
    """Return the kinds of layers in the parts of `model` that vLLM compiles, in order of first appearance.

    Two layers are of one kind if they are of one class and their parameters have the same names, shapes and
    types: what the compiler sees of them can then be the same.
    """
    # A layer may be reached by several paths (Gemma 4 has a list of its decoder's layers beside the decoder).
    distinct = {
        id(layer): layer for part in _compiled_parts(model) for found in _layer_lists(part) for layer in found.values()
    }
    layers = Counter(_signature(layer) for layer in distinct.values())
    return [LayerKind(layer_class=kind[0], layers=n, parameters=len(kind[1])) for kind, n in layers.items()]


def layer_configurations(model: nn.Module) -> dict[str, int]:
    """Return a number for the configuration of each layer in the parts of `model` that vLLM compiles.

    Layers with the same number have the same submodules with the same settings, and differ in their weights only. If
    their graphs differ, a graph is specialized on something that it should take as an input.

    A setting is an attribute that is a boolean, a string or an enum, or that is a number in one layer and None in
    another (a sliding window). Numbers are compared only if the model's config lists one for each layer. An attribute
    that is different in every layer is the layer's index or computed from it, and is not a setting. The attention
    within a layer is left out, since vLLM splits the graph around it.

    Returns:
        By the layer's path below the compiled module, as graphs spell it: ``modules_layers_modules_3``.
    """
    numbers: dict[tuple[object, ...], int] = {}
    found: dict[str, int] = {}
    for part in _compiled_parts(model):
        listed = _numbers_listed_for_layers(part)
        for layers in _layer_lists(part):
            settings = {path: _settings(layer, listed) for path, layer in layers.items()}
            indices = _index_like(settings)
            for path, own in settings.items():
                kept = tuple(sorted(item for item in own.items() if item[0] not in indices))
                found[path] = numbers.setdefault((type(layers[path]).__name__, kept), len(numbers))
    return found


def _compiled_parts(model: nn.Module) -> Iterator[nn.Module]:
    for part in model.modules():
        if isinstance(part, TorchCompileWithNoGuardsWrapper) and not part.do_not_compile:
            yield part


def _layer_lists(part: nn.Module) -> Iterator[dict[str, nn.Module]]:
    """The outermost lists of layers below a compiled module, each by path; a list without any attention is none."""
    pending = [("", part)]
    while pending:
        path, module = pending.pop(0)
        for name, child in module.named_children():
            below = f"{path}modules_{name}"
            layers = list(child.named_children()) if isinstance(child, nn.ModuleList) else []
            if any(isinstance(each, AttentionLayerBase) for each in child.modules()) and layers:
                # Under pipeline parallelism the layers of other ranks are placeholders without parameters.
                yield {
                    f"{below}_modules_{number}": layer
                    for number, layer in layers
                    if next(layer.parameters(), None) is not None
                }
            else:
                pending.append((f"{below}_", child))


def _signature(layer: nn.Module) -> Signature:
    parameters = sorted((name, tuple(p.shape), str(p.dtype)) for name, p in layer.named_parameters())
    return type(layer).__name__, tuple(parameters)


def _settings(layer: nn.Module, listed: frozenset[float]) -> dict[Setting, str]:
    """The settings of a layer and of the modules below it, as text."""
    settings: dict[Setting, str] = {}
    pending = [("", layer)]
    while pending:
        path, module = pending.pop()
        settings[path, ""] = type(module).__name__
        for name, value in vars(module).items():
            if not name.startswith("_") and (text := _setting(value, listed)) is not None:
                settings[path, name] = text
        for name, child in module.named_children():
            if not isinstance(child, AttentionLayerBase):
                pending.append((f"{path}.{name}", child))
    return settings


def _setting(value: object, listed: frozenset[float]) -> str | None:
    """The value of an attribute if it is a setting of its layer, as text; None if it is not."""
    match value:
        case None | bool() | Enum():
            return str(value)
        case int() | float():
            return str(value) if value in listed else _NUMBER
        case str():
            # A name such as "model.layers.3.mlp" is different in each layer, and must be.
            return _DIGITS.sub("N", value)
    return None


def _index_like(settings: Mapping[str, Mapping[Setting, str]]) -> set[Setting]:
    """The settings of which no two layers have the same value."""
    if len(settings) < _FEWEST_TO_TELL_AN_INDEX:
        return set()
    names = {name for own in settings.values() for name in own}
    return {name for name in names if len({own.get(name) for own in settings.values()}) == len(settings)}


def _numbers_listed_for_layers(part: nn.Module) -> frozenset[float]:
    """The numbers in those lists of the model's config that have one for each layer, such as ``sliding_windows``."""
    model_config = getattr(getattr(part, "vllm_config", None), "model_config", None)
    config: Any = getattr(model_config, "hf_text_config", None)
    layers = getattr(config, "num_hidden_layers", None)
    if config is None or not isinstance(layers, int):
        return frozenset()
    return frozenset(
        number
        for value in vars(config).values()
        if isinstance(value, list | tuple) and len(value) >= layers
        for number in value
        if isinstance(number, int | float) and not isinstance(number, bool)
    )
