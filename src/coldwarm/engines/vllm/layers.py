"""Describes the layers of the compiled models: their kinds by class and parameters, and how each is configured."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import nn
from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase

from coldwarm.core.record import LayerKind, ModelLayers
from coldwarm.engines.vllm.seeded_weights import LoadedModel, SeededWeightsLoader

Signature = tuple[str, tuple[tuple[str, tuple[int, ...], str], ...]]
Setting = tuple[str, str]
"""A submodule below a layer and the name of its attribute; of a submodule itself, its path and an empty name."""

# From this many layers on, an attribute that is different in each of them is taken for the layer's index.
_FEWEST_TO_TELL_AN_INDEX = 3
_NUMBER = "a number"
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class _CompiledPart:
    """A module that vLLM compiles as a whole."""

    module: nn.Module
    name: str
    """vLLM's name for it."""
    is_encoder: bool
    config: Any
    """The published config of the model that it is of."""


def layers_of_models() -> tuple[ModelLayers | None, list[ModelLayers]]:
    """Return the layers of the main model and of each further model that vLLM compiles in this process.

    vLLM tells compiled models apart by their names (vllm/compilation/backends.py, `VllmBackend.prefix`): an encoder has
    that of its class, others the tag that was set while they were made: ``backbone``, ``eagle_head`` of a drafter.
    Those of one name are described as one.

    Returns:
        For the main model None if nothing of what was loaded is compiled.
    """
    by_name: dict[str, list[_CompiledPart]] = {}
    for loaded in SeededWeightsLoader.loaded:
        for part in _compiled_parts(loaded):
            by_name.setdefault(part.name, []).append(part)
    models = {
        name: ModelLayers(name=name, layer_kinds=layer_kinds(parts), layer_configurations=layer_configurations(parts))
        for name, parts in by_name.items()
    }
    main = _main_name(by_name)
    return models.pop(main) if main is not None else None, list(models.values())


def _main_name(by_name: Mapping[str, Sequence[_CompiledPart]]) -> str | None:
    """The name of the main model: that of the model loaded first, or else of what is compiled of it."""
    if not by_name:
        return None
    tag = SeededWeightsLoader.loaded[0].tag
    # Gemma 3n may be compiled in two parts, none of which has the model's own tag.
    others = (name for name, parts in by_name.items() if not parts[0].is_encoder)
    return tag if tag in by_name else next(others, next(iter(by_name)))


def layer_kinds(parts: Sequence[_CompiledPart]) -> list[LayerKind]:
    """Return the kinds of layers in `parts`, in order of first appearance.

    Two layers are of one kind if they are of one class and their parameters have the same names, shapes and
    types: what the compiler sees of them can then be the same.
    """
    # A layer may be reached by several paths (Gemma 4 has a list of its decoder's layers beside the decoder).
    distinct = {id(layer): layer for part in parts for found in _layer_lists(part.module) for layer in found.values()}
    layers = Counter(_signature(layer) for layer in distinct.values())
    return [LayerKind(layer_class=kind[0], layers=n, parameters=len(kind[1])) for kind, n in layers.items()]


def layer_configurations(parts: Sequence[_CompiledPart]) -> dict[str, int]:
    """Return a number for the configuration of each layer in `parts`.

    Layers with the same number have the same submodules with the same settings, and differ in their weights only. If
    their graphs differ, a graph is specialized on something that it should take as an input.

    A setting is an attribute that is a boolean, a string or an enum, or that is a number in one layer and None in
    another (a sliding window). Numbers are compared only if the model's config lists one for each layer. An attribute
    that is different in every layer is the layer's index or computed from it, and is not a setting. The attention
    within a layer is left out, since vLLM splits the graph around it.

    Returns:
        By the layer's path below the compiled module, as graphs spell it: ``modules_layers_modules_3``. Empty if two
        parts have different layers at one path, since a graph does not tell which of them it is of.
    """
    numbers: dict[tuple[object, ...], int] = {}
    found: dict[str, int] = {}
    for part in parts:
        listed = _numbers_listed_for_layers(part.config)
        for layers in _layer_lists(part.module):
            settings = {path: _settings(layer, listed) for path, layer in layers.items()}
            indices = _index_like(settings)
            for path, own in settings.items():
                kept = tuple(sorted(item for item in own.items() if item[0] not in indices))
                number = numbers.setdefault((type(layers[path]).__name__, kept), len(numbers))
                if found.setdefault(path, number) != number:
                    return {}
    return found


def _compiled_parts(loaded: LoadedModel) -> Iterator[_CompiledPart]:
    config = getattr(loaded.config, "hf_text_config", None)
    for module in loaded.model.modules():
        if isinstance(module, TorchCompileWithNoGuardsWrapper) and not module.do_not_compile:
            # As `VllmBackend` names what it compiles (vllm/compilation/decorators.py); only encoders have a prefix.
            name = getattr(module, "_compile_tag", "") or getattr(module, "_compile_prefix", "") or loaded.tag
            yield _CompiledPart(module, name, name == type(module).__name__, config)


def _layer_lists(part: nn.Module) -> Iterator[dict[str, nn.Module]]:
    """The outermost lists of layers below a compiled module, each by path; a list without any attention is none."""
    pending = [("", part)]
    while pending:
        path, module = pending.pop(0)
        for name, child in module.named_children():
            below = f"{path}modules_{name}"
            layers = list(child.named_children()) if _is_list(child) else []
            if any(isinstance(each, AttentionLayerBase) for each in child.modules()) and layers:
                # Under pipeline parallelism the layers of other ranks are placeholders without parameters.
                yield {
                    f"{below}_modules_{number}": layer
                    for number, layer in layers
                    if next(layer.parameters(), None) is not None
                }
            else:
                pending.append((f"{below}_", child))


def _is_list(module: nn.Module) -> bool:
    # The layers of an MTP drafter are numbered on from the target's, in a dictionary (deepseek_mtp.py).
    return isinstance(module, nn.ModuleList) or (
        isinstance(module, nn.ModuleDict) and all(name.isdigit() for name in module)
    )


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


def _numbers_listed_for_layers(config: Any) -> frozenset[float]:
    """The numbers in those lists of a model's config that have one for each layer, such as ``sliding_windows``."""
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
