"""coldwarm's platform plugin for vLLM: does nothing except in starts with piecewise compilation on a CPU.

vLLM calls `activate` in every process that imports vLLM with this Python installation, so this module imports nothing
heavy. In all other processes, `activate` returns None (no platform).
"""

from __future__ import annotations

import os


def activate() -> str | None:
    """Return the name of the platform class to use; the entry point in vLLM's group ``vllm.platform_plugins``."""
    if os.environ.get("COLDWARM_COMPILATION") != "piecewise" or "COLDWARM_START" not in os.environ:
        return None
    from vllm.platforms import cpu_platform_plugin

    shipped = cpu_platform_plugin()
    # A different CPU platform (zentorch's) is not replaced: its compilation was never measured.
    return "coldwarm.engines.vllm.piecewise_cpu.PiecewiseCpuPlatform" if shipped == _VLLMS_OWN else None


_VLLMS_OWN = "vllm.platforms.cpu.CpuPlatform"
