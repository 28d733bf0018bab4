"""Observes the CuTe DSL of NVIDIA's CUTLASS, which compiles within the process and stores nothing."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.observe.kernels.probe import CompilerProbe, Observation
from coldwarm.observe.kernels.recorder import Recorder, component, digest

_NO_CACHE = "cute.compile has no cache on disk (NVIDIA/cutlass issue 3398)"
_PLAIN = (bool, int, float, str, type(None))


@dataclass
class _Compilation:
    """A call of `cute.compile` that is running in this thread."""

    architecture: str | None = None
    modules: list[str] = field(default_factory=list)
    """What identifies each module that the call has traced."""


class CuteDslProbe(CompilerProbe):
    """Wraps the methods of classes, so that a function that was imported by its name is observed too."""

    name = "CuTe DSL kernels"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.CUTE_DSL,)
    module = "cutlass.cute"
    distribution = "nvidia-cutlass-dsl"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._folder = ""
        self._running = threading.local()
        self._backends: set[type] = set()

    def hook(self, module: ModuleType) -> None:
        """Wrap what compiles and what loads a compiled kernel."""
        self._folder = str(Path(str(module.__file__)).parent.parent) + os.sep
        compiler = sys.modules.get("cutlass.base_dsl.compiler")
        self.wrap(Compiler.CUTE_DSL, getattr(compiler, "CompileCallable", None), "_compile", self._compile)
        self.wrap(Compiler.CUTE_DSL, sys.modules.get("cutlass.cute.runtime"), "load_module", self._load_module)
        # The same function by another name, for those that import it from there later.
        if hasattr(sys.modules.get("cutlass.runtime"), "load_module"):
            self.wrap(Compiler.CUTE_DSL, sys.modules["cutlass.runtime"], "load_module", self._load_module)
        if not self._wrap_backends():
            self.lacks(Compiler.CUTE_DSL, "CompilerBackend._build_compiled_function")

    def _wrap_backends(self) -> bool:
        """Wrap what compiles a traced module, in each backend that there is by now; return whether there is any."""
        base = getattr(sys.modules.get("cutlass.base_dsl.compile_backend"), "CompilerBackend", None)
        found = [] if base is None else base.__subclasses__()
        for backend in found:
            found += backend.__subclasses__()
            if backend not in self._backends and "_build_compiled_function" in vars(backend):
                self._backends.add(backend)
                self.wrap(Compiler.CUTE_DSL, backend, "_build_compiled_function", self._build)
        return bool(self._backends)

    def _compile(self, _: Any, function: Any, *args: Any, **kwargs: Any) -> Observation:
        """Observe `cute.compile`."""
        self._wrap_backends()
        request = self.recorder.request(self._folder)
        instance = None if hasattr(function, "__qualname__") else function
        instance = getattr(function, "__self__", instance)
        kernel = function.__qualname__ if instance is None else type(instance).__qualname__
        components = {
            "source": str(getattr(function if instance is None else type(instance), "__module__", "")),
            "attributes": component(_plain_attributes(instance)),
            "arguments": component([_described(each) for each in (*args, *kwargs.items())]),
            "options": component(str(kwargs.get("options"))),
        }
        outer = getattr(self._running, "compilation", None)
        compilation = self._running.compilation = _Compilation()
        began, begin = time.perf_counter(), time.time()
        try:
            yield
        finally:
            self._running.compilation = outer
        if compilation.architecture is not None:
            components["architecture"] = compilation.architecture
        module = digest(*compilation.modules) if compilation.modules else None
        if module is not None:
            components["module"] = module
        self.recorder.add(
            request,
            compiler=Compiler.CUTE_DSL,
            kernel=kernel,
            key=module or digest(kernel, repr(components)),
            outcome=KernelOutcome.COMPILED,
            source=KernelSource.WRAPPED,
            begin=begin,
            seconds=time.perf_counter() - began,
            components=components,
            why_not_cached=_NO_CACHE,
        )

    def _build(self, _: Any, context: Any, architecture: str, state: Any) -> Observation:
        """Observe what compiles a traced module: within `cute.compile`, or when a function of the DSL is called."""
        compilation: _Compilation | None = getattr(self._running, "compilation", None)
        if compilation is not None:
            compilation.architecture = architecture
            # The module is what is compiled, so its text is an exact key; writing it takes 4 to 10 ms.
            compilation.modules.append(digest(context.module.operation.get_asm()))
            return
        if state.cache_hit and not state.load_from_file_cache:
            return
        request = self.recorder.request(self._folder)
        key = str(context.module_hash) if context.cache_enabled else digest(context.module.operation.get_asm())
        has_files = context.cache_enabled and not os.environ.get("CUTE_DSL_DISABLE_FILE_CACHING")
        began, begin = time.perf_counter(), time.time()
        yield
        self.recorder.add(
            request,
            compiler=Compiler.CUTE_DSL,
            kernel=str(context.function_name),
            key=key,
            outcome=KernelOutcome.LOADED if state.load_from_file_cache else KernelOutcome.COMPILED,
            source=KernelSource.WRAPPED,
            begin=begin,
            seconds=time.perf_counter() - began,
            components={"module": key, "architecture": str(architecture)},
            cache_folder=_cache_folder() if has_files else None,
            why_not_cached=None
            if has_files
            else "caching is disabled (CUTE_DSL_DISABLE_FILE_CACHING, CUTE_DSL_NO_CACHE)",
        )

    def _load_module(self, file_path: Any, *_: Any, **__: Any) -> Observation:
        """Observe the load of a kernel that a library stored: quack, FlashAttention, FlashInfer."""
        request = self.recorder.request(self._folder)
        began, begin = time.perf_counter(), time.time()
        yield
        path = Path(file_path)
        self.recorder.add(
            request,
            compiler=Compiler.CUTE_DSL,
            kernel=path.stem,
            key=path.name,
            outcome=KernelOutcome.LOADED,
            source=KernelSource.WRAPPED,
            begin=begin,
            seconds=time.perf_counter() - began,
            cache_folder=str(path.parent),
        )


def _plain_attributes(instance: object) -> str:
    values = {} if instance is None else getattr(instance, "__dict__", {})
    return repr({name: value for name, value in values.items() if isinstance(value, _PLAIN)})


def _described(value: object) -> str:
    """Return what of an argument the kernel is compiled for, without addresses."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_described, value))})"
    if isinstance(value, _PLAIN):
        return repr(value)
    try:
        return f"{value.element_type}{tuple(map(str, value.shape))}"  # type: ignore[attr-defined]
    except Exception:  # no tensor; its properties may raise anything
        return type(value).__name__


def _cache_folder() -> str:
    """Return the folder of the DSL's own cache (cutlass/base_dsl/cache_helpers.py)."""
    user = os.environ.get("USER", "")
    return os.environ.get("CUTE_DSL_CACHE_DIR") or str(Path(tempfile.gettempdir(), user, "cutlass_python_cache"))
