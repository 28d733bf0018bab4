"""vLLM's settings for kernels that are compiled in every process."""

from __future__ import annotations

from coldwarm.core.kernels import Compiler, KernelEvent


def kernel_advice(event: KernelEvent) -> str | None:
    """Return the setting of vLLM that avoids compiling the kernel of `event` in each start; None if none is known."""
    asked = " ".join(filter(None, (event.where, event.owner, event.kernel)))
    # vllm/model_executor/layers/mamba/gdn/qwen_gdn_linear_attn.py: FlashInfer's prefill kernels are kept in memory
    # only (flashinfer/gdn_kernels); Triton's are cached on disk.
    if event.compiler is Compiler.CUTE_DSL and event.cache_folder is None and "gdn" in asked.lower():
        return (
            'set additional_config.gdn_prefill_backend="triton", whose kernels are cached on disk; '
            "the cold start takes longer"
        )
    return None
