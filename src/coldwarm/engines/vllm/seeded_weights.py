"""Weights that distinguish models: random, seeded by each parameter's name.

vLLM's dummy weights are all drawn from the same seed in +-0.001 (vllm/model_executor/model_loader/weight_utils.py). All
layers have the same weights, Llama-3.1-8B and GLM-4.5 generate the same tokens, and a start that used the wrong
artifact for a layer would generate them, too. With the weights of this module, activations stay at about unit size, so
that the output depends on every layer.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import nn
from vllm.compilation import backends
from vllm.config import ModelConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

from coldwarm.core.depth import Depth
from coldwarm.engines.vllm.loaded_models import LOADED, LoadedModel

# vLLM has special cases for this format (vllm/config/vllm.py), so its loader is replaced under the same name.
LOAD_FORMAT = "dummy"

# Random numbers are drawn once and repeated. The length is prime, so that no matrix has the same row twice.
_TILE = 1_000_003
_WIDE_ENOUGH = (torch.float32, torch.float16, torch.bfloat16)


@register_model_loader(LOAD_FORMAT)
class SeededWeightsLoader(DummyModelLoader):  # type: ignore[misc]
    """Refills vLLM's dummy weights, seeded by each parameter's name, except quantized parameters and scales.

    At other depths than full, where nothing is computed from the weights, they are zeros or stay uninitialized.
    """

    depth = Depth.FULL

    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        """Fill the model's parameters."""
        LOADED.append(LoadedModel(lambda: model, backends.model_tag, model_config))
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
    # Drawn on the CPU, so that the numbers are the same on every device, and repeated on the parameter's device.
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
