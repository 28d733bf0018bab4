"""Observes for how many blocks vLLM allocates the KV cache in a process."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from coldwarm.core.record import ProcessReport
from coldwarm.observe.after_import import after_import

_WORKER = "vllm.v1.worker.gpu_worker"
"""`Worker.initialize_from_config` allocates it, also on a CPU, whose worker inherits the method."""


class KvCacheProbe:
    """Reports the number of blocks of the KV cache in this process.

    The number in vLLM's `CacheConfig` is reset when the engine shuts down, so it is read when the cache is allocated.
    """

    name = "KV cache"

    def __init__(self) -> None:
        self._began = False
        self._blocks: int | None = None
        self._allocated = 0

    def install(self) -> None:
        """Wait for the import of vLLM's worker."""
        if not self._began:
            self._began = True
            os.register_at_fork(after_in_child=self._forget)
            after_import([_WORKER], self._hook)

    def report(self, report: ProcessReport) -> None:
        """Report the blocks of the KV cache that was allocated last; None: none was."""
        report.kv_cache_blocks = self._blocks

    def seen(self) -> int:
        """Return how often a KV cache was allocated, so that a process that is killed later has reported it."""
        return self._allocated

    def _forget(self) -> None:
        self._blocks = None

    def _hook(self, module: Any) -> None:
        worker = getattr(module, "Worker", None)
        allocate = getattr(worker, "initialize_from_config", None)
        if worker is not None and allocate is not None:
            worker.initialize_from_config = self._counted(allocate)

    def _counted(self, allocate: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(allocate)
        def counted(worker: Any, kv_cache_config: Any, *args: Any, **kwargs: Any) -> Any:
            blocks = getattr(kv_cache_config, "num_blocks", None)
            self._blocks = blocks if isinstance(blocks, int) else None
            self._allocated += 1
            return allocate(worker, kv_cache_config, *args, **kwargs)

        return counted
