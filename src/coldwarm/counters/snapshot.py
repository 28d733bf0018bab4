"""A snapshot of all counters of this process: vLLM's and PyTorch's own."""

from __future__ import annotations

from coldwarm.counters import torch_source, vllm_source


def snapshot() -> dict[str, int]:
    """Return every counter of the engines and compilers that this process has imported, by flat name.

    A source whose program was not imported contributes nothing: it cannot have counted.
    """
    return {**vllm_source.read(), **torch_source.read()}
