"""Ends a start as soon as everything that its depth observes is known."""

from __future__ import annotations

import functools
from typing import Any

from vllm.v1.worker.gpu_worker import Worker

from coldwarm.engines.vllm.layers import why_not_compiled


class EverythingKnownError(BaseException):
    """Ends the start. Not an `Exception`, so that no handler catches it."""


def end_without_torch_compile() -> None:
    """Raise `EverythingKnownError` after a model is loaded, if vLLM compiles no part of it with torch.compile.

    Only kernels of JIT compilers would follow: 75 s of the cold start of DeepSeek-V3.2 on an H200, with vLLM 0.33. With
    several ranks the start goes on, because each runs in a process of its own, in which the error would be a crash.
    """
    load = Worker.load_model  # also that of a CPU, which inherits it (vllm/v1/worker/cpu_worker.py)

    @functools.wraps(load)
    def load_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = load(self, *args, **kwargs)
        if self.vllm_config.parallel_config.world_size == 1 and why_not_compiled() is not None:
            raise EverythingKnownError
        return result

    Worker.load_model = load_model
