"""The hardware and the Python that a process of a start runs on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def hardware(*, uses_gpu: bool) -> dict[str, str]:
    """Return a description of the machine; this process must have imported torch.

    Args:
        uses_gpu: Whether to name the GPU; it initializes CUDA.
    """
    import torch

    found = {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu_name(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if uses_gpu:
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    # Not `platform.processor`, which starts a process.
    return platform.machine()
