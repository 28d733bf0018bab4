"""Weights that tell models apart: random, seeded by each parameter's name.

vLLM's dummy weights are all drawn from the same seed in +-0.001 (vllm/model_executor/model_loader/weight_utils.py):
every layer is alike, Llama-3.1-8B and GLM-4.5 generate the same tokens, and a start that mixed its artifacts up would
compute the same. These weights keep activations at about unit size, so that what is generated depends on every layer.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from vllm.compilation import backends
from vllm.config import ModelConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

from coldwarm.core.depth import Depth

# vLLM treats this format specially in places (vllm/config/vllm.py), so its name is kept and its loader replaced.
LOAD_FORMAT = "dummy"

# Random numbers are drawn once and repeated: a prime length, so that no matrix sees the same row twice.
_TILE = 1_000_003
_WIDE_ENOUGH = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LoadedModel:
    """A model that vLLM has loaded: the one that was asked for, or a drafter."""

    model: nn.Module
    tag: str
    """vLLM's name for what is compiled of it (vllm/compilation/backends.py, `model_tag`)."""
    config: ModelConfig


@register_model_loader(LOAD_FORMAT)
class SeededWeightsLoader(DummyModelLoader):  # type: ignore[misc]
    """Dummy weights, then every parameter filled anew by its name; quantized ones and scales stay as vLLM's.

    At other depths than full, where nothing is computed from them, they are zeros, or left as they are allocated.
    """

    depth = Depth.FULL
    loaded: ClassVar[list[LoadedModel]] = []
    """The models that were loaded in this process, in their order: a drafter comes after its target."""

    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        """Fill the model's parameters."""
        SeededWeightsLoader.loaded.append(LoadedModel(model, backends.model_tag, model_config))
        if self.depth is Depth.TRACE:
            return
        if self.depth is Depth.COUNT and all(each.dtype in _WIDE_ENOUGH for each in model.parameters()):
            for parameter in model.parameters():
                parameter.data.zero_()
            return
        super().load_weights(model, model_config)
        if self.depth is Depth.COUNT:
            return
        for name, parameter in model.named_parameters():
            if parameter.dtype in _WIDE_ENOUGH and parameter.numel() and "scale" not in name:
                _fill(name, parameter.data, model_config.seed)


def _fill(name: str, parameter: torch.Tensor, seed: int | None) -> None:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + (seed or 0))
    # The same numbers wherever they are used; what is large is made of them there.
    tile = torch.rand(_TILE, generator=generator).mul_(2).sub_(1).to(parameter.device)
    length = parameter.numel()
    values = tile.repeat(math.ceil(length / _TILE))[:length].view(parameter.shape)
    if parameter.ndim >= 2:
        # Uniform in +-sqrt(3 / fan-in) has variance 1 / fan-in: activations keep their size from layer to layer.
        values.mul_(math.sqrt(3 / parameter.shape[-1]))
    else:
        values.mul_(0.1)
        if "norm" in name.rsplit(".", 2)[-2] and name.endswith("weight"):
            values.add_(1)
    parameter.copy_(values)
