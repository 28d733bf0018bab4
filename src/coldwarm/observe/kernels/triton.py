"""Observes Triton: kernels that are compiled or loaded, and autotuning (Triton 3.6 to 3.9)."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.observe.kernels.probe import CompilerProbe, Observation
from coldwarm.observe.kernels.recorder import Recorder, Request, component, digest

# Of a kernel's metadata, which also have what the compiler computed.
_OPTIONS = (
    *("num_warps", "num_stages", "num_ctas", "maxnreg", "warp_size", "ptx_version", "ptx_options", "launch_pdl"),
    *(
        "launch_cooperative_grid",
        "enable_fp_fusion",
        "ir_override",
        "debug",
        "sanitize_overflow",
        "instrumentation_mode",
    ),
)


class TritonProbe(CompilerProbe):
    """Listens to Triton, and takes the line that asks for a kernel where it does."""

    name = "Triton kernels"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.TRITON, Compiler.TRITON_AUTOTUNE)
    module = "triton"
    distribution = "triton"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._folder = ""
        self._requests: dict[tuple[object, ...], Request] = {}
        self._tuning = threading.local()
        self._has_tuning_listener = False

    def hook(self, module: ModuleType) -> None:
        """Set the listeners, which call those that there are, and wrap what has none."""
        self._folder = str(Path(str(module.__file__)).parent) + os.sep
        knobs = sys.modules.get("triton.knobs")
        self._listen(Compiler.TRITON, knobs, "compilation", self._on_kernel)
        self._listen(Compiler.TRITON_AUTOTUNE, knobs, "autotuning", self._on_tuned)
        self._has_tuning_listener = hasattr(getattr(knobs, "autotuning", None), "listener")
        jit, autotuner = sys.modules.get("triton.runtime.jit"), sys.modules.get("triton.runtime.autotuner")
        self.wrap(Compiler.TRITON, getattr(jit, "JITFunction", None), "_do_compile", self._do_compile)
        self.wrap(Compiler.TRITON, sys.modules.get("triton.runtime.build"), "_build", self._build)
        tuner = getattr(autotuner, "Autotuner", None)
        self.wrap(Compiler.TRITON_AUTOTUNE, tuner, "check_disk_cache", self._check_disk_cache)

    def _listen(self, compiler: Compiler, knobs: object, group: str, act: Callable[..., None]) -> None:
        settings = getattr(knobs, group, None)
        if not hasattr(settings, "listener"):
            self.lacks(compiler, f"knobs.{group}.listener")
            return
        previous = settings.listener  # type: ignore[union-attr]

        def listener(**values: Any) -> None:
            self.safely(act, **values)
            if previous is not None:
                previous(**values)

        settings.listener = listener  # type: ignore[union-attr]

    def _do_compile(
        self,
        function: Any,
        key: Any,
        signature: Any,
        device: Any,
        constexprs: Any,
        options: Any,
        attrs: Any,
        warmup: Any,
    ) -> Observation:
        """Take the request in the thread that asks; the listener may run in another one (`triton.AsyncCompileMode`)."""
        if self.setup_seconds is None:
            # Triton hashes its files for the key of the first kernel, and remembers the result.
            began = time.perf_counter()
            sys.modules["triton.runtime.cache"].triton_key()
            self.setup_seconds = time.perf_counter() - began
        self._requests[_identity(function, signature, constexprs, attrs)] = self.recorder.request(self._folder)
        yield

    def _on_kernel(
        self,
        src: Any,
        metadata: Mapping[str, Any],
        metadata_group: Mapping[str, str],
        times: Any,
        cache_hit: bool,
        **_: Any,
    ) -> None:
        # What is compiled from IR has neither a function nor constants.
        function, signature = getattr(src, "fn", None), getattr(src, "signature", {})
        constants, attrs = getattr(src, "constants", {}), getattr(src, "attrs", {})
        request = self._requests.pop(_identity(function, signature, constants, attrs), None)
        seconds = times.total / 1e6
        target = metadata.get("target")
        always = sys.modules["triton.knobs"].compilation.always_compile
        self.recorder.add(
            request or self.recorder.request(self._folder),
            compiler=Compiler.TRITON,
            kernel=str(src.name),
            key=str(metadata["hash"]),
            outcome=KernelOutcome.LOADED if cache_hit else KernelOutcome.COMPILED,
            source=KernelSource.HOOK,
            begin=time.time() - seconds,
            seconds=seconds,
            components={
                "source": str(getattr(function, "cache_key", None) or src.hash()),
                "signature": component(_json(signature)),
                "constants": component(_json({str(path): repr(value) for path, value in constants.items()})),
                "attributes": component(_json({str(path): value for path, value in attrs.items()})),
                "options": component(_json({name: metadata[name] for name in _OPTIONS if metadata.get(name)})),
                "architecture": f"{getattr(target, 'backend', None)}:{getattr(target, 'arch', None)}",
                "environment": component(_json({name: metadata[name] for name in metadata if name.isupper()})),
                "compiler": str(metadata.get("triton_version")),
            },
            cache_folder=next((str(Path(path).parent) for path in metadata_group.values()), None),
            why_not_cached="TRITON_ALWAYS_COMPILE is set" if always and not cache_hit else None,
        )

    def _build(self, name: str, src: str, *_: Any, **__: Any) -> Observation:
        """Record a module in C that Triton compiles: a launcher of kernels, or its driver. A stored one has no hook."""
        request = self.recorder.request(self._folder)
        source = Path(src).read_bytes()
        began, begin = time.perf_counter(), time.time()
        yield
        self.recorder.add(
            request,
            compiler=Compiler.TRITON,
            kernel=name,
            key=digest(source),
            outcome=KernelOutcome.COMPILED,
            source=KernelSource.WRAPPED,
            begin=begin,
            seconds=time.perf_counter() - began,
            components={"source": digest(source)},
            cache_folder=_cache_folder(),
        )

    def _check_disk_cache(self, tuner: Any, tuning_key: Any, configs: Sequence[Any], *_: Any, **__: Any) -> Observation:
        """Observe the search for a result on disk, which tunes if there is none."""
        if any(config.pre_hook for config in configs):
            self._tuning.why_not_cached = "kept in memory only, because a configuration has a pre_hook"
        elif not tuning_key:
            self._tuning.why_not_cached = "kept in memory only, because no argument is in the key"
        else:
            self._tuning.why_not_cached = None
        began = time.perf_counter()
        loaded = yield
        if not self._has_tuning_listener:
            function = tuner.fn
            while not hasattr(function, "cache_key"):
                function = function.fn
            seconds = None if loaded else getattr(tuner, "bench_time", time.perf_counter() - began)
            self._on_tuned(function, tuning_key, tuner.cache[tuning_key], dict.fromkeys(configs), seconds, loaded)

    def _on_tuned(
        self,
        fn: Any,
        key: Any,
        best_config: Any,
        configs_timings: Mapping[Any, Any] | None,
        duration: float | None,
        cache_hit: bool,
        **_: Any,
    ) -> None:
        if "why_not_cached" in vars(self._tuning):
            why = self._tuning.why_not_cached
            del self._tuning.why_not_cached
        else:  # nothing was looked for on disk
            why = "kept in memory only, because TRITON_CACHE_AUTOTUNING is not set"
        configurations = _json(sorted(map(str, configs_timings or (best_config,))))
        self.recorder.add(
            self.recorder.request(self._folder),
            compiler=Compiler.TRITON_AUTOTUNE,
            kernel=str(fn.__name__),
            key=digest(str(fn.cache_key), repr(key), configurations),
            outcome=KernelOutcome.LOADED if cache_hit else KernelOutcome.COMPILED,
            source=KernelSource.HOOK if self._has_tuning_listener else KernelSource.WRAPPED,
            begin=time.time() - (duration or 0.0),
            seconds=duration,
            components={
                "source": str(fn.cache_key),
                "arguments": component(repr(key)),
                "configurations": component(configurations),
            },
            cache_folder=None if why else _cache_folder(),
            why_not_cached=why,
        )


def _identity(function: object, signature: object, constants: object, attrs: object) -> tuple[object, ...]:
    return id(function), repr(signature), repr(constants), repr(attrs)


def _json(value: object) -> str:
    """Return text in which a tuple and the list that a file has for it are the same."""
    return json.dumps(value, default=str)


def _cache_folder() -> str | None:
    folder = getattr(getattr(sys.modules.get("triton.knobs"), "cache", None), "dir", None)
    return None if folder is None else str(folder)
