"""vLLM imported once, in a process that starts are forked from."""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable
from typing import Any

from coldwarm.starts.depth import Depth

# What a start imports beyond `vllm.LLM`, on either device; those that a version does not have are left out.
_MODULES = (
    "vllm.compilation.backends",
    "vllm.compilation.piecewise_backend",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.model_loader.dummy_loader",
    "torch._inductor.compile_fx",
    "torch._inductor.standalone_compile",
    "torch._inductor.codecache",
    "torch._functorch._aot_autograd.autograd_cache",
)
_OF_DEVICE = {
    "cpu": ("vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner"),
    "cuda": ("vllm.v1.worker.gpu_worker", "vllm.v1.worker.gpu_model_runner"),
}


def preload(depth: Depth) -> None:
    """Import vLLM and what starts import later.

    Raises:
        RuntimeError: That has touched the GPU, so that nothing can be forked any more.
    """
    import torch
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    for name in ("vllm", "vllm.entrypoints.llm", *_MODULES, *_OF_DEVICE["cpu" if on_cpu else "cuda"]):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    if on_cpu and depth is Depth.FULL:
        # Which vector instructions the machine has, found out by compiling for each (six seconds); kept in memory.
        from torch._inductor.cpu_vec_isa import pick_vec_isa

        pick_vec_isa()
    if torch.cuda.is_initialized():
        raise RuntimeError("importing vLLM has initialized CUDA")


def settle() -> None:
    """Have a forked process write a trace of its own, and look at models' classes as cheaply as it can."""
    from torch._logging import _internal

    if _internal.LOG_TRACE_HANDLER is not None:
        _internal.LOG_TRACE_HANDLER.root_dir = os.environ["TORCH_TRACE"]
    _inspect_models_in_forks()


def _inspect_models_in_forks() -> None:
    """Have vLLM look at a model's class in a forked process, where it would begin a new Python and import itself.

    It does that in a process of its own lest CUDA be initialized (vllm/model_executor/models/registry.py,
    `_run_in_subprocess`); a fork serves that as well.
    """
    from vllm.model_executor.models import registry

    if hasattr(registry, "_run_in_subprocess"):
        registry._run_in_subprocess = run_in_fork


def run_in_fork(function: Callable[[], Any]) -> Any:
    """Return what `function` returns in a forked process.

    Raises:
        RuntimeError: It raised there.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            answer = True, function()
        except BaseException as error:
            answer = False, f"{type(error).__name__}: {error}"
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    if not content:
        raise RuntimeError("the forked process that looked at the model's class was killed")
    fine, result = pickle.loads(content)
    if not fine:
        raise RuntimeError(f"in the forked process that looked at the model's class: {result}")
    return result
