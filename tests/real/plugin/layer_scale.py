"""Small models, registered by a general plugin of vLLM, in which each layer scales its output by a different number.

In the first, the number is a Python float, which is baked into the graph of every layer. In the second, the fixed one,
it is a buffer, which is an input of one graph for all layers. The third is a drafter with the number baked in. In the
fourth, the number is that of the rank, so that each rank has graphs of its own.
"""

import torch
from torch._inductor.cpu_vec_isa import pick_vec_isa
from vllm import ModelRegistry
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.models import llama_eagle
from vllm.model_executor.models.llama import LlamaDecoderLayer, LlamaForCausalLM


def register() -> None:
    ModelRegistry.register_model("BurnedScaleForCausalLM", "layer_scale:BurnedScaleForCausalLM")
    ModelRegistry.register_model("BufferedScaleForCausalLM", "layer_scale:BufferedScaleForCausalLM")
    ModelRegistry.register_model("EagleBurnedScaleForCausalLM", "layer_scale:EagleBurnedScaleForCausalLM")
    ModelRegistry.register_model("TritonLaunchForCausalLM", "triton_launch:TritonLaunchForCausalLM")
    ModelRegistry.register_model("BurnedRankForCausalLM", "layer_scale:BurnedRankForCausalLM")
    # torch's check of the CPU's instructions is part of each kernel's key and is not thread-safe: `VecAMX.__bool__`
    # changes its flags for a moment. A warm start loads artifacts in several threads. If they run the check at the same
    # time, the keys differ and the kernels are recompiled. Run here, in one thread, the check is deterministic.
    pick_vec_isa()


def scale_of(prefix: str) -> float:
    return 1.0 + 0.125 * int(prefix.rsplit(".", 1)[1])


class BurnedScaleLayer(LlamaDecoderLayer):
    def __init__(self, vllm_config, prefix="", **kwargs):
        super().__init__(vllm_config, prefix, **kwargs)
        self.scale = scale_of(prefix)

    def forward(self, positions, hidden_states, residual):
        hidden_states, residual = super().forward(positions, hidden_states, residual)
        return hidden_states * self.scale, residual


class BurnedRankLayer(BurnedScaleLayer):
    def __init__(self, vllm_config, prefix="", **kwargs):
        super().__init__(vllm_config, prefix, **kwargs)
        self.scale = 1.0 + 0.125 * get_tensor_model_parallel_rank()


class BufferedScaleLayer(LlamaDecoderLayer):
    def __init__(self, vllm_config, prefix="", **kwargs):
        super().__init__(vllm_config, prefix, **kwargs)
        self.register_buffer("scale", torch.tensor(scale_of(prefix)), persistent=False)

    def forward(self, positions, hidden_states, residual):
        hidden_states, residual = super().forward(positions, hidden_states, residual)
        return hidden_states * self.scale, residual


class BurnedScaleForCausalLM(LlamaForCausalLM):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=BurnedScaleLayer)


class BurnedRankForCausalLM(LlamaForCausalLM):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=BurnedRankLayer)


class BufferedScaleForCausalLM(LlamaForCausalLM):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=BufferedScaleLayer)


class BurnedScaleDraftLayer(llama_eagle.LlamaDecoderLayer):
    def forward(self, positions, hidden_states, residual):
        hidden_states, residual = super().forward(positions, hidden_states, residual)
        return hidden_states * self.scale, residual


class EagleBurnedScaleForCausalLM(llama_eagle.EagleLlamaForCausalLM):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        for number, layer in enumerate(self.model.layers):
            layer.__class__ = BurnedScaleDraftLayer
            layer.scale = scale_of(f"layers.{number}")
