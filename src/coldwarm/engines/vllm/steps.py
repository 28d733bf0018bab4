"""Announces the steps of a start when vLLM enters and leaves the functions that do them.

No log lines and no tracing spans: vLLM's newer model runner has few of either. The functions have had the same names
since 0.26; those that a version lacks, or that moved, only make the phases coarser.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from coldwarm.core.phases import (
    AUTOTUNING,
    CACHE_SAVE,
    COMPILE,
    DEVICE,
    GRAPH_CAPTURE,
    JIT_WARM_UP,
    KV_CACHE,
    MEMORY_PROFILING,
    WARM_UP,
    WEIGHTS,
)
from coldwarm.core.stage import Stage
from coldwarm.observe.after_import import after_import
from coldwarm.observe.progress import Progress


@dataclass(frozen=True, slots=True)
class StepFunction:
    """A function of vLLM or PyTorch that does one step of a start."""

    module: str
    """The module in which its caller looks it up."""
    name: str
    """``function`` or ``Class.method``."""
    phase: str
    is_context: bool = False
    """Whether it returns a context manager, which is the step."""


_DECORATORS = "vllm.compilation.decorators"
_WORKER = "vllm.v1.worker.gpu_worker"
_CPU_WORKER = "vllm.v1.worker.cpu_worker"
_RUNNER_V1 = "vllm.v1.worker.gpu_model_runner"
_RUNNER_V2 = "vllm.v1.worker.gpu.model_runner"
_WARMUP = "vllm.model_executor.warmup.kernel_warmup"

STEPS = (
    StepFunction(_WORKER, "Worker.init_device", DEVICE),
    StepFunction(_CPU_WORKER, "CPUWorker.init_device", DEVICE),
    StepFunction(_WORKER, "Worker.load_model", WEIGHTS),
    StepFunction(_WORKER, "Worker.determine_available_memory", MEMORY_PROFILING),
    StepFunction(_CPU_WORKER, "CPUWorker.determine_available_memory", WARM_UP),  # It measures nothing.
    StepFunction(_RUNNER_V1, "GPUModelRunner.profile_cudagraph_memory", GRAPH_CAPTURE),
    StepFunction(_RUNNER_V2, "GPUModelRunner.profile_cudagraph_memory", GRAPH_CAPTURE),
    StepFunction(_WORKER, "Worker.initialize_from_config", KV_CACHE),
    StepFunction(_WORKER, "Worker.compile_or_warm_up_model", WARM_UP),
    StepFunction(_CPU_WORKER, "CPUWorker.compile_or_warm_up_model", WARM_UP),
    StepFunction(_WORKER, "kernel_warmup", JIT_WARM_UP),
    StepFunction(_WORKER, "warmup_kernels", JIT_WARM_UP),
    StepFunction("vllm.model_executor.warmup.jit_warmup", "JitWarmupRegistry.warmup", JIT_WARM_UP),
    StepFunction(_WARMUP, "flashinfer_autotune", AUTOTUNING),
    StepFunction(_WARMUP, "flashinfer_sparse_mla_decode_autotune_warmup", AUTOTUNING),
    StepFunction(_WARMUP, "replayssm_autotune_warmup", AUTOTUNING),
    StepFunction(_RUNNER_V1, "GPUModelRunner.capture_model", GRAPH_CAPTURE),
    StepFunction(_RUNNER_V2, "GPUModelRunner.capture_model", GRAPH_CAPTURE),
    StepFunction(_DECORATORS, "monitor_torch_compile", COMPILE, is_context=True),
    StepFunction(_DECORATORS, "_try_load_aot_compiled_fn", Stage.LOAD),
    StepFunction("torch._dynamo.aot_compile", "AOTCompiledFunction.save_compiled_function", CACHE_SAVE),
)
"""In the order of a start. Steps are nested: after an inner one, the outer one continues."""

_WHOLE = (Stage.LOAD, CACHE_SAVE)
"""Steps that are not divided; vLLM times loading as a compilation (`monitor_torch_compile`)."""


def announce_steps(progress: Progress, *, first_process: bool = True, steps: Sequence[StepFunction] = STEPS) -> None:
    """Announce `steps` from now on, also those of modules that will be imported later.

    Args:
        progress: Where to announce them.
        first_process: Whether this is the first process of the start. Others announce only the steps of rank 0.
        steps: The steps to announce.
    """
    announcer = _Announcer(progress, first_process)

    def wrap_all(module: ModuleType) -> None:
        for step in steps:
            if step.module == module.__name__:
                _wrap(module, step, announcer)

    after_import((step.module for step in steps), wrap_all)


class _Announcer:
    """Announces steps of this process, if it is the one that does so."""

    def __init__(self, progress: Progress, first_process: bool) -> None:
        self._progress = progress
        self._announces = first_process
        self._pid = os.getpid()

    @contextmanager
    def within(self, phase: str, caller: object) -> Iterator[None]:
        """Announce `phase`, entered by a call with `caller` as its first argument: a worker knows its rank."""
        if self._pid != os.getpid():
            # Forked, as every rank may be.
            self._pid, self._announces = os.getpid(), False
        if getattr(caller, "rank", None) == 0:
            self._announces = True
        if self._progress.phase in _WHOLE:
            yield
            return
        # The probes of other ranks need the phase, too.
        with self._progress.within(phase, announce=self._announces):
            yield


def _wrap(module: ModuleType, step: StepFunction, announcer: _Announcer) -> None:
    """Replace the function of `step` by one that announces it, if the version has it."""
    *classes, name = step.name.split(".")
    owner: Any = module
    for each in classes:
        owner = getattr(owner, each, None)
    # Not one that a class inherits: the class that defines it is wrapped.
    function = vars(owner).get(name) if owner is not None else None
    if callable(function):
        wrapped = _announced_context if step.is_context else _announced
        setattr(owner, name, wrapped(function, step.phase, announcer))


def _announced(function: Callable[..., Any], phase: str, announcer: _Announcer) -> Callable[..., Any]:
    @functools.wraps(function)
    def announced(*args: Any, **kwargs: Any) -> Any:
        with announcer.within(phase, next(iter(args), None)):
            return function(*args, **kwargs)

    return announced


def _announced_context(function: Callable[..., Any], phase: str, announcer: _Announcer) -> Callable[..., Any]:
    @functools.wraps(function)
    @contextmanager
    def announced(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with announcer.within(phase, next(iter(args), None)), function(*args, **kwargs) as entered:
            yield entered

    return announced
