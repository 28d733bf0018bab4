"""Describes the layers of the compiled models: their kinds, by class and parameters, and their configurations."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import nn
from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper
from vllm.config import CompilationMode
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase

from coldwarm.core.record import LayerKind, ModelLayers
from coldwarm.engines.vllm.loaded_models import LOADED, LoadedModel

Signature = tuple[str, tuple[tuple[str, tuple[int, ...], str], ...]]
Setting = tuple[str, str]
"""The path of a submodule below a layer and the name of an attribute; an empty name means the submodule itself."""

# If at least this many layers all have different values of an attribute, it counts as the layer's index.
_FEWEST_FOR_AN_INDEX = 3
_NUMBER = "a number"
_AUXILIARY_OUTPUT = "output for the drafter"
_ENCODER_FEATURES = "features of the encoder"
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class _CompiledPart:
    """A module that vLLM compiles as a whole."""

    module: nn.Module
    name: str
    """vLLM's name for it."""
    is_encoder: bool
    config: Any
    """The published config of its model."""
    layers_with_features: int
    """How many of its first layers add features of the encoder to their output (DeepStack)."""


def layers_of_models() -> tuple[ModelLayers | None, list[ModelLayers]]:
    """Return the layers of the main model and of each further model that vLLM compiles in this process.

    vLLM distinguishes compiled models by their names (vllm/compilation/backends.py, `VllmBackend.prefix`): that of an
    encoder is its class, that of other models the tag that was set when they were created: ``backbone``, ``eagle_head``
    for a drafter. Models with the same name are described as one.

    Returns:
        For the main model, None if no part of a loaded model is compiled.
    """
    by_name: dict[str, list[_CompiledPart]] = {}
    for loaded in LOADED:
        for part in _compiled_parts(loaded):
            by_name.setdefault(part.name, []).append(part)
    models = {
        name: ModelLayers(
            name=name,
            layer_kinds=layer_kinds(parts),
            layer_configurations=layer_configurations(parts),
            modules=len(parts),
        )
        for name, parts in by_name.items()
    }
    main = _main_name(by_name)
    return models.pop(main) if main is not None else None, list(models.values())


def why_not_compiled() -> str | None:
    """Return why vLLM compiles no part of the loaded models with torch.compile; None if it does."""
    parts = [
        module
        for loaded in LOADED
        for module in loaded.model.modules()
        if isinstance(module, TorchCompileWithNoGuardsWrapper)
    ]
    if not parts:
        names = ", ".join(dict.fromkeys(type(loaded.model).__name__ for loaded in LOADED))
        return f"no class of {names} is decorated with support_torch_compile"
    if not all(part.do_not_compile for part in parts):
        return None
    config = parts[0].vllm_config
    mode = config.compilation_config.mode
    if mode == CompilationMode.STOCK_TORCH_COMPILE:  # the model runner compiles the whole model
        return None
    if mode == CompilationMode.NONE:
        return ", ".join(["compilation mode NONE", *_why_mode_none(config)])
    return f"support_torch_compile is disabled for {', '.join(dict.fromkeys(type(part).__name__ for part in parts))}"


def _why_mode_none(config: Any) -> list[str]:
    """Return why vLLM resolved the compilation mode to NONE (vllm/config/vllm.py); empty: an option asks for it."""
    if config.model_config is not None and config.model_config.enforce_eager:
        return ["because of enforce_eager"]
    if os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        return ["because of TORCH_COMPILE_DISABLE=1"]
    try:
        from vllm.compilation.breakable_cudagraph import is_breakable_cudagraph_enabled
    except ImportError:  # an older version
        return []
    return ["because of breakable CUDA graphs"] if is_breakable_cudagraph_enabled() else []


def _main_name(by_name: Mapping[str, Sequence[_CompiledPart]]) -> str | None:
    """Return the name of the main model: the tag of the first loaded model, or else the name of a compiled part."""
    if not by_name:
        return None
    tag = LOADED[0].tag
    # Gemma 3n may be compiled in two parts, and neither has the model's own tag.
    others = (name for name, parts in by_name.items() if not parts[0].is_encoder)
    return tag if tag in by_name else next(others, next(iter(by_name)))


def layer_kinds(parts: Sequence[_CompiledPart]) -> list[LayerKind]:
    """Return the kinds of layers in `parts`, in order of first appearance.

    Two layers are of the same kind if they have the same class and their parameters have the same names, shapes and
    types, so that they can have the same graph.
    """
    # A layer may have several paths (Gemma 4 has its decoder's layers in an additional list).
    distinct = {id(layer): layer for part in parts for found in _layer_lists(part.module) for layer in found.values()}
    layers = Counter(_signature(layer) for layer in distinct.values())
    return [LayerKind(layer_class=kind[0], layers=n, parameters=len(kind[1])) for kind, n in layers.items()]


def layer_configurations(parts: Sequence[_CompiledPart]) -> dict[str, int]:
    """Return a number for the configuration of each layer in `parts`.

    Layers with the same number have the same submodules with the same settings, and differ only in their weights. If
    their graphs differ, a graph is specialized on something that it should take as an input.

    A setting is an attribute that is a boolean, a string or an enum, or that is a number in one layer and None in
    another (a sliding window). Numbers are compared only if the model's config lists one for each layer. An attribute
    that is different in every layer is the layer's index or computed from it, and is not a setting. The attention
    within a layer is left out, since vLLM splits the graph around it.

    Returns:
        By the layer's path below the compiled module, as graphs spell it: ``modules_layers_modules_3``. Empty if two
        parts have different layers at the same path, because the graph does not show which part it belongs to.
    """
    numbers: dict[tuple[object, ...], int] = {}
    found: dict[str, int] = {}
    for part in parts:
        listed = _numbers_listed_for_layers(part.config)
        for layers in _layer_lists(part.module):
            settings = {path: _settings(layer, listed) for path, layer in layers.items()}
            for path in _before_auxiliary_outputs(part.module, layers):
                settings[path]["", _AUXILIARY_OUTPUT] = "True"
            for path in list(layers)[: part.layers_with_features]:
                settings[path]["", _ENCODER_FEATURES] = "True"
            indices = _index_like(settings)
            for path, own in settings.items():
                compared = tuple(sorted(item for item in own.items() if item[0] not in indices))
                number = numbers.setdefault((type(layers[path]).__name__, compared), len(numbers))
                if found.setdefault(path, number) != number:
                    return {}
    return found


def _compiled_parts(loaded: LoadedModel) -> Iterator[_CompiledPart]:
    config = getattr(loaded.config, "hf_text_config", None)
    levels = getattr(loaded.model, "deepstack_num_level", 0)  # qwen3_vl.py and others; 0 if the model has no DeepStack
    for module in loaded.model.modules():
        if isinstance(module, TorchCompileWithNoGuardsWrapper) and not module.do_not_compile:
            # The name that `VllmBackend` gives it (vllm/compilation/decorators.py); only encoders have a prefix.
            name = getattr(module, "_compile_tag", "") or getattr(module, "_compile_prefix", "") or loaded.tag
            is_encoder = name == type(module).__name__
            yield _CompiledPart(module, name, is_encoder, config, 0 if is_encoder else levels)


def _layer_lists(part: nn.Module) -> Iterator[dict[str, nn.Module]]:
    """Yield the outermost lists of layers below a compiled module, each by path; skip lists without attention."""
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
    # The layers of an MTP drafter are in a dictionary, with numbers that continue the target's (deepseek_mtp.py).
    return isinstance(module, nn.ModuleList) or (
        isinstance(module, nn.ModuleDict) and all(name.isdigit() for name in module)
    )


def _signature(layer: nn.Module) -> Signature:
    parameters = sorted((name, tuple(p.shape), str(p.dtype)) for name, p in layer.named_parameters())
    return type(layer).__name__, tuple(parameters)


def _settings(layer: nn.Module, listed: frozenset[float]) -> dict[Setting, str]:
    """Return the settings of a layer and of the modules below it, as text."""
    settings: dict[Setting, str] = {}
    pending = [("", layer)]
    while pending:
        path, module = pending.pop()
        settings[path, ""] = type(module).__name__
        # A copy: the program may be running the model in another thread, and setting attributes.
        for name, value in list(vars(module).items()):
            if not name.startswith("_") and (text := _setting(value, listed)) is not None:
                settings[path, name] = text
        for name, child in module.named_children():
            if not isinstance(child, AttentionLayerBase):
                pending.append((f"{path}.{name}", child))
    return settings


def _setting(value: object, listed: frozenset[float]) -> str | None:
    """Return the value of an attribute as text if it is a setting of its layer, else None."""
    match value:
        case None | bool() | Enum():
            return str(value)
        case int() | float():
            return str(value) if value in listed else _NUMBER
        case str():
            # A name such as "model.layers.3.mlp" is necessarily different in each layer.
            return _DIGITS.sub("N", value)
    return None


def _before_auxiliary_outputs(part: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[str]:
    """Yield the paths of layers whose output is also handed to an EAGLE-3 drafter, so that their subgraph has one more
    output (`EagleModelMixin` in vllm/model_executor/models/interfaces.py)."""
    inputs_of = getattr(part, "aux_hidden_state_layers", ())  # the model takes them before these layers
    for path in layers:
        if int(path.rpartition("_")[2]) + 1 in inputs_of:
            yield path


def _index_like(settings: Mapping[str, Mapping[Setting, str]]) -> set[Setting]:
    """Return the settings for which no two layers have the same value."""
    if len(settings) < _FEWEST_FOR_AN_INDEX:
        return set()
    names = {name for own in settings.values() for name in own}
    return {name for name in names if len({own.get(name) for own in settings.values()}) == len(settings)}


def _numbers_listed_for_layers(config: Any) -> frozenset[float]:
    """Return the numbers in those lists of a model's config that have one for each layer, like ``sliding_windows``."""
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
