"""Facts about the vLLM that this process has imported."""

from __future__ import annotations

import platform
import sys
from functools import cache


@cache
def versions() -> dict[str, str]:
    """Return versions by distribution name, and of ``python``; must not be modified."""
    import torch

    from coldwarm.engines.vllm.installation import find

    return {**find().versions(), "torch": str(torch.__version__), "python": platform.python_version()}


def aot_artifact() -> str | None:
    """Return ``bundled`` or ``separate``; None: this version of vLLM has no such setting, or is being imported."""
    try:
        # No import: another thread may be importing vLLM, and a report must not wait for it.
        return "bundled" if sys.modules["vllm.envs"].VLLM_USE_MEGA_AOT_ARTIFACT else "separate"
    except (KeyError, AttributeError):
        return None
