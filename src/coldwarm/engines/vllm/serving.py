"""The command line of a vLLM server for a model of the catalog, with random weights and little memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from coldwarm.core.options import merged
from coldwarm.engines.vllm.drafter import drafter_config as drafter_config
from coldwarm.engines.vllm.drafter import with_drafter_in as with_drafter_in

_PROGRAM = ("python", "-m", "vllm.entrypoints.openai.api_server")
_OPTIONS = {"load_format": "dummy", "skip_tokenizer_init": True, "max_model_len": 256}
# vLLM refuses to start on a CPU if a smaller fraction of the memory is free. Without a size of the KV cache, it also
# refuses if a worker takes more than that fraction, which it does on a machine with little memory.
_ON_CPU = {
    "max_num_batched_tokens": 1024,
    "num_gpu_blocks_override": 64,
    "kv_cache_memory_bytes": 256 * 2**20,
    "gpu_memory_utilization": 0.05,
}


def serving(folder: str, device: str, options: Mapping[str, Any]) -> list[str]:
    """Return the program and the arguments that serve a model.

    Args:
        folder: The folder with its config.json.
        device: ``cpu`` or ``cuda``.
        options: The options with which its entry is always started.
    """
    chosen = merged({**_OPTIONS, **(_ON_CPU if device == "cpu" else {})}, dict(options))
    return [*_PROGRAM, "--model", folder, *(word for name, value in chosen.items() for word in _argument(name, value))]


def _argument(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", value if isinstance(value, str) else json.dumps(value)]
