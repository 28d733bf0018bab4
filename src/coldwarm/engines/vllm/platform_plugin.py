"""coldwarm's vLLM platform plugin: does nothing unless a coldwarm worker asks for it.

vLLM calls `activate` in every process of the machine's Python that imports it, so this module imports nothing
heavy, and returns None (no platform) everywhere but in a worker with piecewise compilation on a CPU.
"""

from __future__ import annotations

import os


def activate() -> str | None:
    """Return the platform class to use, as vLLM's entry point group ``vllm.platform_plugins`` wants it."""
    if os.environ.get("COLDWARM_COMPILATION") != "piecewise" or "COLDWARM_START" not in os.environ:
        return None
    from vllm.platforms import cpu_platform_plugin

    shipped = cpu_platform_plugin()
    # Another CPU platform (zentorch's) is left as it is: what it compiles was never measured.
    return "coldwarm.engines.vllm.piecewise_cpu.PiecewiseCpuPlatform" if shipped == _VLLMS_OWN else None


_VLLMS_OWN = "vllm.platforms.cpu.CpuPlatform"
