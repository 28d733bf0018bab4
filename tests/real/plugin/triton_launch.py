"""A small model, each layer of which launches a Triton kernel of its own in the graph, with a number of warps.

Dynamo then gives each launch a number of its own, which is part of the graph. On a CPU, Triton has no driver, so that
Dynamo would not trace the launch; it is made to. The kernel is never run: the depth `count` compiles none.
"""

import torch
import triton
import triton.language as tl
from torch.utils import _triton
from vllm.model_executor.models.llama import LlamaDecoderLayer, LlamaForCausalLM

_triton.has_triton = lambda: True


@triton.jit
def double_kernel(x, out, WIDTH: tl.constexpr):  # noqa: N803
    places = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    tl.store(out + places, tl.load(x + places) * 2)


def double(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    double_kernel[(x.shape[0],)](x, out, WIDTH=x.shape[1], num_warps=2)
    return out


class TritonLaunchLayer(LlamaDecoderLayer):
    def forward(self, positions, hidden_states, residual):
        hidden_states, residual = super().forward(positions, hidden_states, residual)
        return double(hidden_states), residual


class TritonLaunchForCausalLM(LlamaForCausalLM):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=TritonLaunchLayer)
