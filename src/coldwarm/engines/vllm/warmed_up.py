"""Observes whether vLLM's worker has warmed up in a process, after which its rank compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from coldwarm.core.record import ProcessReport
from coldwarm.observe.after_import import after_import

_WORKERS = {"vllm.v1.worker.gpu_worker": "Worker", "vllm.v1.worker.cpu_worker": "CPUWorker"}
_LAST_STEP = "compile_or_warm_up_model"


class WarmedUpProbe:
    """Reports whether the worker of this process has warmed up."""

    name = "end of the warm-up"

    def __init__(self) -> None:
        self._began = False
        self._ended = 0

    def install(self) -> None:
        """Wait for the import of vLLM's workers."""
        if not self._began:
            self._began = True
            after_import(_WORKERS, self._hook)

    def report(self, report: ProcessReport) -> None:
        """Report whether it has."""
        report.is_warmed_up = self._ended > 0

    def milestones(self) -> int:
        """Return how often the warm-up has ended."""
        return self._ended

    def _hook(self, module: ModuleType) -> None:
        worker = getattr(module, _WORKERS[module.__name__], None)
        # Not an inherited one: the class that defines it is wrapped.
        if worker is not None and _LAST_STEP in vars(worker):
            setattr(worker, _LAST_STEP, self._noted(getattr(worker, _LAST_STEP)))

    def _noted(self, warm_up: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(warm_up)
        def noted(*args: Any, **kwargs: Any) -> Any:
            result = warm_up(*args, **kwargs)
            self._ended += 1
            return result

        return noted
