"""Observes vLLM's JIT warm-up, which compiles kernels for keys that the model registered (vLLM 0.32 and 0.33).

Each kernel is an object with a method `compile`, which calls a compiler's library for one key
(vllm/model_executor/warmup/jit_warmup.py). The probes of the libraries record what is compiled; this one gives them the
owner. With the depth ``count``, nothing of the warm-up is compiled, and the keys are recorded as listed.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from functools import wraps
from types import ModuleType
from typing import Any

from coldwarm.core.depth import Depth
from coldwarm.core.kernels import Compiler, KernelEvent, KernelEvents, KernelOutcome, KernelSource
from coldwarm.core.record import ProcessReport
from coldwarm.observe.kernels.imports import after_import
from coldwarm.observe.kernels.recorder import OWNER, component

_MODULE = "vllm.model_executor.warmup.jit_warmup"

# By the module of the base class. What has neither calls `cute.compile` itself (FlashAttention 4, LLFp32WGemm).
_COMPILERS = {
    f"{_MODULE}_triton_helper": Compiler.TRITON,
    f"{_MODULE}_tilelang_helper": Compiler.TILELANG,
    f"{_MODULE}_cutedsl_helper": Compiler.CUTE_DSL,
}


class JitWarmupProbe:
    """Names the owner of each kernel that the registry, or a first call after the warm-up, has compiled.

    Args:
        depth: The depth of the start.
    """

    name = "JIT warm-up"

    def __init__(self, depth: Depth = Depth.FULL) -> None:
        self._depth = depth
        self._began = False
        self._listed: list[KernelEvent] = []
        self._error: Exception | None = None

    def install(self) -> None:
        """Wait for the import of vLLM's registry."""
        if not self._began:
            self._began = True
            os.register_at_fork(after_in_child=self._listed.clear)
            after_import(_MODULE, self._hook)

    def report(self, report: ProcessReport) -> None:
        """Add the keys that were listed.

        Raises:
            Exception: What the registry could not be asked for.
        """
        if report.kernels is None:
            report.kernels = KernelEvents()
        report.kernels.events += self._listed
        if self._error is not None:
            raise self._error

    def _hook(self, module: ModuleType) -> None:
        try:
            kernel, registry = module.VllmJitKernel, module.JitWarmupRegistry
            for each in _subclasses(kernel):
                _name_owner(each)
            kernel.__init__ = _with_owner(kernel.__init__)
            if not self._depth.level.has_kernels:
                registry.warmup = lambda of: self._list(of)
        except Exception as error:
            self._error = error

    def _list(self, registry: Any) -> None:
        """Record the keys in place of compiling them."""
        try:
            for kernel, key in keys(registry):
                self._listed.append(_listed(kernel, key))
        except Exception as error:
            self._error = error


def keys(registry: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each kernel of a registry with each of its keys once, as `JitWarmupRegistry.warmup` determines them."""
    for kernel, registrations in registry._registrations.items():
        found: dict[Any, None] = {}
        for args, kwargs in registrations:
            takes_config = "vllm_config" in inspect.signature(kernel.get_warmup_keys).parameters
            if not args and not kwargs and takes_config:
                kwargs = {"vllm_config": registry.vllm_config}
            found |= dict.fromkeys(kernel.get_warmup_keys(*args, **kwargs))
        for key in found:
            yield kernel, key


def _listed(kernel: Any, key: Any) -> KernelEvent:
    names = getattr(type(key), "__dataclass_fields__", ())
    values = {name: getattr(key, name) for name in names}
    return KernelEvent(
        compiler=_compiler(type(kernel)),
        kernel=type(kernel).__qualname__,
        key=repr(key),
        outcome=KernelOutcome.LISTED,
        source=KernelSource.REGISTRY,
        components={name: component(value) for name, value in values.items()},
        owner=_owner(kernel, key),
    )


def _compiler(kernel: type) -> Compiler:
    return next(
        (_COMPILERS[base.__module__] for base in kernel.__mro__ if base.__module__ in _COMPILERS), Compiler.CUTE_DSL
    )


def _owner(kernel: Any, key: Any) -> str:
    # The key's own text begins with the names of both classes.
    text = repr(key).removeprefix(f"{type(kernel).__qualname__}.")
    return component(f"{type(kernel).__qualname__} {text}")


def _subclasses(kernel: type) -> Iterator[type]:
    found: list[type] = kernel.__subclasses__()
    for each in found:
        yield each
        yield from _subclasses(each)


def _with_owner(create: Callable[..., None]) -> Callable[..., None]:
    """Have each kernel that is created from now on name itself as the owner of what it compiles."""

    @wraps(create)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        for each in type(self).__mro__:
            _name_owner(each)
        create(self, *args, **kwargs)

    return __init__


def _name_owner(kernel: type) -> None:
    """Wrap the method `compile` that the class `kernel` itself has, once."""
    compile_key = vars(kernel).get("compile")
    if not inspect.isfunction(compile_key) or hasattr(compile_key, "__wrapped__"):
        return

    @wraps(compile_key)
    def compile(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            token = OWNER.set(_owner(self, key))
        except Exception:  # a key without a text: it has no owner, and is compiled as ever
            return compile_key(self, key, *args, **kwargs)
        try:
            return compile_key(self, key, *args, **kwargs)
        finally:
            OWNER.reset(token)

    kernel.compile = compile  # type: ignore[attr-defined]
