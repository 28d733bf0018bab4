"""Imports vLLM once, in a process that starts are forked from."""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from coldwarm.core.depth import Depth
from coldwarm.engines.vllm.depth_limits import modules_for
from coldwarm.observe.cuda_initialization import CudaInitialization

# Modules that every start imports in addition to `vllm.LLM`, that take more than 5 ms (measured on a CPU), and that do
# not touch a GPU. Those that a version does not have are skipped.
_MODULES = (
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
    "vllm.compilation.caching",
    "vllm.compilation.backends",
    "vllm.compilation.piecewise_backend",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.model_loader.dummy_loader",
    "torch._inductor.compile_fx",
    "torch._inductor.standalone_compile",
    "torch._inductor.codecache",
    "torch._inductor.codegen.memory_planning",
    "torch._inductor.fx_passes.pad_mm",
    "torch._functorch._aot_autograd.autograd_cache",
    "torch.distributed.tensor.experimental",
    "torch.export._trace",
    "sympy.physics",
    "sympy.tensor.tensor",
    "coldwarm.engines.vllm.installation",
)
_OF_DEVICE = {
    "cpu": (
        "vllm.v1.worker.cpu_worker",
        "vllm.v1.worker.cpu_model_runner",
        "vllm.model_executor.layers.quantization.online.base",
    ),
    "cuda": ("vllm.v1.worker.gpu_worker", "vllm.v1.worker.gpu_model_runner"),
}
_AVOIDED_BY = {
    "flashinfer/compilation_context.py": "set FLASHINFER_CUDA_ARCH_LIST to the GPU's architecture, for example 9.0a",
}
"""Settings that keep a file from initializing CUDA when it is imported."""
_CUTE_DSL_ARCHITECTURE = "CUTE_DSL_ARCH"


def preload(depth: Depth) -> None:
    """Import vLLM and the modules that starts import later.

    Raises:
        RuntimeError: An import has initialized CUDA, so that nothing can be forked.
    """
    with CudaInitialization(_capabilities) as cuda, _architecture_for_cute_dsl():
        _import_all(depth)
    if cuda.cause is not None:
        error = RuntimeError(f"importing vLLM initialized CUDA: {cuda.cause}{_way_out(cuda.file)}")
        error.add_note(f"CUDA was initialized here:\n{cuda.stack}")
        raise error


@contextmanager
def _architecture_for_cute_dsl() -> Iterator[None]:
    """Tell CuTe DSL the GPU's architecture in the ``with`` block, because it would initialize CUDA to find out.

    FlashInfer 0.7 has it do so when it is imported (flashinfer/fused_moe/cute_dsl/blackwell_sm12x/_moe_utils).
    """
    architecture = None if _CUTE_DSL_ARCHITECTURE in os.environ else _architecture()
    if architecture is not None:
        os.environ[_CUTE_DSL_ARCHITECTURE] = architecture
    try:
        yield
    finally:
        if architecture is not None:
            del os.environ[_CUTE_DSL_ARCHITECTURE]


def _architecture() -> str | None:
    """Return the architecture of all visible GPUs as CuTe DSL finds it (`detect_gpu_arch` in its env_manager.py);
    None: they differ, or it is not known."""
    try:
        found = set(_capabilities())
    except Exception:  # as without coldwarm: the import that needs it finds out
        return None
    if len(found) != 1:
        return None
    [(major, minor)] = found
    return f"sm_{major}{minor}{'a' if major >= 9 else ''}"


def _capabilities() -> list[tuple[int, int]]:
    """Return the compute capability of each visible device, which vLLM asks NVML for, so that CUDA stays as it is."""
    import torch
    from vllm.platforms import current_platform

    devices = [current_platform.get_device_capability(number) for number in range(torch.cuda.device_count())]
    known = [(device.major, device.minor) for device in devices if device is not None]
    return known if len(known) == len(devices) else []


def _way_out(file: str | None) -> str:
    found = [setting for end, setting in _AVOIDED_BY.items() if file is not None and file.endswith(f"/{end}")]
    return f"; {found[0]}" if found else ""


def _import_all(depth: Depth) -> None:
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    of_device = _OF_DEVICE["cpu" if on_cpu else "cuda"]
    for name in ("vllm", "vllm.entrypoints.llm", *_MODULES, *of_device, *modules_for(depth)):
        import_if_available(name)
    _hash_triton()
    if on_cpu and depth is Depth.FULL:
        # Finds the machine's vector instructions by compiling for each (six seconds), and caches the result in memory.
        from torch._inductor.cpu_vec_isa import pick_vec_isa

        pick_vec_isa()


def _hash_triton() -> None:
    """Have Triton hash its own files, hundreds of megabytes, once for the cache keys of all starts."""
    from torch._inductor.runtime.triton_compat import HAS_TRITON, triton_key

    if HAS_TRITON:
        triton_key()


def import_if_available(name: str) -> None:
    """Import the module `name`, if there is one.

    Raises:
        ModuleNotFoundError: The module exists, and one that it imports does not.
    """
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Ignored if the module itself is missing, or a package that contains it.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise


def after_fork() -> None:
    """Make a forked process write a separate trace, and inspect models' classes in forks."""
    from torch._logging import _internal

    if _internal.LOG_TRACE_HANDLER is not None:
        _internal.LOG_TRACE_HANDLER.root_dir = os.environ["TORCH_TRACE"]
    _inspect_models_in_forks()


def _inspect_models_in_forks() -> None:
    """Have vLLM inspect a model's class in a forked process instead of a new Python that imports vLLM.

    vLLM uses a subprocess so that CUDA is not initialized (vllm/model_executor/models/registry.py,
    `_run_in_subprocess`); a fork has the same effect.
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
        # Whatever is raised here, the child must not continue as a second copy of its parent.
        try:
            os.close(read_end)
            content = _answer(function)
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(content)
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    if not content:
        raise RuntimeError("the forked process that inspected the model's class was killed")
    succeeded, result = pickle.loads(content)
    if not succeeded:
        raise RuntimeError(f"in the forked process that inspected the model's class: {result}")
    return result


def _answer(function: Callable[[], Any]) -> bytes:
    """Return, pickled, whether `function` succeeded, and its result or the text of the exception."""
    try:
        return pickle.dumps((True, function()))
    except BaseException as error:
        return pickle.dumps((False, f"{type(error).__name__}: {error}"))
