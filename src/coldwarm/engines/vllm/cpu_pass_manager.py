"""vLLM's Inductor pass manager without the one pass that a CPU build cannot run."""

from __future__ import annotations

from torch import fx
from vllm.compilation.passes.pass_manager import PostGradPassManager
from vllm.compilation.passes.vllm_inductor_pass import VllmInductorPass
from vllm.config import VllmConfig


class _LeavesFunctionalized(VllmInductorPass):  # type: ignore[misc]
    """Replaces FixFunctionalizationPass, which refers to CUDA-only ops (torch.ops._C.rotary_embedding, ...)."""

    def __call__(self, graph: fx.Graph) -> None:
        """Leave the graph unchanged, which is correct, at the cost of copies that the pass would save."""


class CpuPassManager(PostGradPassManager):  # type: ignore[misc]
    """vLLM's pass manager for a CPU."""

    def configure(self, config: VllmConfig) -> None:
        """Configure vLLM's passes, then replace the last one."""
        super().configure(config)
        self.fix_functionalization = _LeavesFunctionalized(config)
