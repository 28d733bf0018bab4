"""vLLM's CPU platform with piecewise compilation, as on a GPU.

By default, vLLM turns VLLM_COMPILE on a CPU into one whole-graph compile (vllm/platforms/cpu.py,
`check_and_update_config`), for which it has no artifact counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.platforms.cpu import CpuPlatform

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class PiecewiseCpuPlatform(CpuPlatform):  # type: ignore[misc]
    """The CPU platform, without the change of VLLM_COMPILE."""

    @classmethod
    def check_and_update_config(cls, vllm_config: VllmConfig) -> None:
        """Let vLLM configure everything for a CPU, then restore piecewise compilation."""
        # vLLM resolves its platform while vllm.config is being imported.
        from vllm.config import CompilationMode

        compilation = vllm_config.compilation_config
        asked = compilation.mode
        super().check_and_update_config(vllm_config)
        if asked == CompilationMode.VLLM_COMPILE:
            compilation.mode = asked
            compilation.backend = "inductor"
            # With None, no compile range is found for any shape (vllm/compilation/piecewise_backend.py).
            compilation.compile_sizes = []
            # torch 2.13's memory reordering moves reads of the output of vLLM's onednn_mm before the op, so that
            # GLM-4.5 and Kimi-K2.5 read uninitialized memory (docs/piecewise-on-a-cpu.md).
            compilation.inductor_compile_config["reorder_for_peak_memory"] = False

    @classmethod
    def get_pass_manager_cls(cls) -> str:
        """Return the path of the pass manager without the pass that refers to CUDA-only ops."""
        return "coldwarm.engines.vllm.cpu_pass_manager.CpuPassManager"
