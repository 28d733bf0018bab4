"""Observes TileLang's kernels."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.observe.kernels.probe import CompilerProbe, Observation
from coldwarm.observe.kernels.recorder import Recorder, Request, component, digest

_KEY_ARGUMENTS = ("target", "target_host", "execution_backend", "out_idx", "pass_configs", "compile_flags")


@dataclass
class _Lookup:
    """A search in the cache that is running in this thread."""

    outcome: KernelOutcome | None = None
    """None: the kernel is in memory."""


class TileLangProbe(CompilerProbe):
    """Observes the cache, and within it what loads and what compiles. A kernel in memory is no event."""

    name = "TileLang kernels"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.TILELANG,)
    module = "tilelang"
    distribution = "tilelang"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._folder = ""
        self._running = threading.local()

    def hook(self, module: ModuleType) -> None:
        """Wrap the methods of the cache and of a kernel."""
        self._folder = str(Path(str(module.__file__)).parent) + os.sep
        cache = getattr(sys.modules.get("tilelang.cache.kernel_cache"), "KernelCache", None)
        self.wrap(Compiler.TILELANG, cache, "cached", self._cached)
        self.wrap(Compiler.TILELANG, cache, "_load_kernel_from_disk", self._load)
        kernel = getattr(sys.modules.get("tilelang.jit.kernel"), "JITKernel", None)
        self.wrap(Compiler.TILELANG, kernel, "__init__", self._create)

    def _cached(self, _: Any, func: Any = None, out_idx: Any = None, *args: Any, **kwargs: Any) -> Observation:
        request = self.recorder.request(self._folder)
        lookup = self._running.lookup = _Lookup()
        began, begin = time.perf_counter(), time.time()
        try:
            kernel = yield
        finally:
            self._running.lookup = None
        if lookup.outcome is None:
            return
        path = getattr(kernel, "_tilelang_cache_path", None)
        self._add(
            request,
            func,
            {"out_idx": out_idx, **kwargs},
            key=getattr(kernel, "_tilelang_cache_key", None),
            outcome=lookup.outcome,
            begin=begin,
            seconds=time.perf_counter() - began,
            cache_folder=None if path is None else str(path),
            why_not_cached="TILELANG_DISABLE_CACHE is set" if path is None else None,
        )

    def _load(self, *_: Any, **__: Any) -> Observation:
        kernel = yield
        lookup: _Lookup | None = getattr(self._running, "lookup", None)
        if lookup is not None and kernel is not None:
            lookup.outcome = KernelOutcome.LOADED

    def _create(self, _: Any, func: Any = None, *args: Any, **kwargs: Any) -> Observation:
        """Observe a kernel's constructor, which compiles it unless it comes from the cache."""
        # The eighth argument of `JITKernel.__init__`.
        if args[6] if len(args) > 6 else kwargs.get("from_database", False):
            return
        lookup: _Lookup | None = getattr(self._running, "lookup", None)
        if lookup is not None:
            lookup.outcome = KernelOutcome.COMPILED
            return
        request = self.recorder.request(self._folder)
        began, begin = time.perf_counter(), time.time()
        yield
        self._add(
            request,
            func,
            kwargs,
            key=None,
            outcome=KernelOutcome.COMPILED,
            begin=begin,
            seconds=time.perf_counter() - began,
            cache_folder=None,
            why_not_cached="the kernel was compiled without TileLang's cache",
        )

    def _add(self, request: Request, func: Any, arguments: dict[str, Any], *, key: str | None, **values: Any) -> None:
        components = {name: component(str(arguments[name])) for name in _KEY_ARGUMENTS if name in arguments}
        script = getattr(func, "script", None)
        if script is not None:
            components["source"] = digest(str(script(show_meta=True)))
        self.recorder.add(
            request,
            compiler=Compiler.TILELANG,
            kernel=_name(func),
            key=key or digest(repr(components)),
            source=KernelSource.WRAPPED,
            components=components,
            **values,
        )


def _name(func: Any) -> str:
    attributes = getattr(func, "attrs", None)
    if attributes is not None and "global_symbol" in attributes:
        return str(attributes["global_symbol"])
    return str(getattr(func, "__name__", "unknown"))
