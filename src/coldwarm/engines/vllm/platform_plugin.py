"""coldwarm's platform plugin for vLLM: does nothing except in a worker with piecewise compilation on a CPU.

vLLM calls `activate` in every process that imports vLLM in this Python environment, so this module imports nothing
heavy.
"""

from __future__ import annotations

import os


def activate() -> str | None:
    """Return the path of the platform class, or None; the entry point in vLLM's group ``vllm.platform_plugins``."""
    if os.environ.get("COLDWARM_COMPILATION") != "piecewise" or "COLDWARM_START" not in os.environ:
        return None
    from vllm.platforms import cpu_platform_plugin

    shipped = cpu_platform_plugin()
    # A different CPU platform (zentorch's) is not replaced, because it was never measured.
    return "coldwarm.engines.vllm.piecewise_cpu.PiecewiseCpuPlatform" if shipped == _VLLMS_OWN else None


_VLLMS_OWN = "vllm.platforms.cpu.CpuPlatform"
