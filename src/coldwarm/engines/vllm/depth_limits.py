"""Limits vLLM and Inductor to the steps of a start's depth."""

from __future__ import annotations

import importlib

from coldwarm.core.depth import Depth

_EARLY_END = ("coldwarm.engines.vllm.early_end", "end_without_torch_compile")
# The modules and the functions that limit a process to each depth. The modules import vLLM or torch.
_LIMITS = {
    Depth.TRACE: (("coldwarm.engines.vllm.keys_only", "stop_at_keys"), _EARLY_END),
    Depth.COUNT: (("coldwarm.engines.vllm.without_kernels", "leave_kernels_out"), _EARLY_END),
}


def modules_for(depth: Depth) -> tuple[str, ...]:
    """Return the names of the modules that `limit_to` imports for `depth`."""
    return tuple(module for module, _ in _LIMITS.get(depth, ()))


def limit_to(depth: Depth) -> None:
    """Limit this process to the steps of `depth`. Has no effect at full depth."""
    for module, function in _LIMITS.get(depth, ()):
        getattr(importlib.import_module(module), function)()
