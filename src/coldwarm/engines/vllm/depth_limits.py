"""Limits vLLM and Inductor to the steps of a start's depth."""

from __future__ import annotations

import importlib

from coldwarm.core.depth import Depth

# The module and the function that limit a process to each depth. The modules import vLLM or torch.
_LIMITS = {
    Depth.TRACE: ("coldwarm.engines.vllm.keys_only", "stop_at_keys"),
    Depth.COUNT: ("coldwarm.engines.vllm.without_kernels", "leave_kernels_out"),
}


def modules_for(depth: Depth) -> tuple[str, ...]:
    """Return the names of the modules that `limit_to` imports for `depth`."""
    return (_LIMITS[depth][0],) if depth in _LIMITS else ()


def limit_to(depth: Depth) -> None:
    """Limit this process to the steps of `depth`. Has no effect at full depth."""
    if depth in _LIMITS:
        module, function = _LIMITS[depth]
        getattr(importlib.import_module(module), function)()
