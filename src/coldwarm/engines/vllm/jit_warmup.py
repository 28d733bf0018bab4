"""Observes vLLM's JIT warm-up, which compiles kernels for keys that the model registered.

Since 0.28, each kernel is an object with a method `compile`, which calls a compiler's library for one key
(vllm/model_executor/warmup/jit_warmup.py). Its method `warmup` compiles its keys; since 0.29, a registry compiles those
of all kernels. Before, and besides, there are units with a key and a function `compile`, for the CuTe DSL only
(vllm/model_executor/warmup/cutedsl_warmup.py). The probes of the libraries record what is compiled; this one gives them
the owner. With the depth ``count``, nothing of the warm-up is compiled, and the keys are recorded as listed.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any

from coldwarm.core.depth import Depth
from coldwarm.core.kernels import Compiler, KernelEvent, KernelEvents, KernelOutcome, KernelSource
from coldwarm.core.record import ProcessReport
from coldwarm.observe.after_import import after_import
from coldwarm.observe.kernels.recorder import OWNER, component

_MODULE = "vllm.model_executor.warmup.jit_warmup"
_UNITS_MODULE = "vllm.model_executor.warmup.cutedsl_warmup"
_WRAPPED = "_coldwarm_names_owner"

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
            after_import([_MODULE], lambda module: self._safely(self._hook, module))
            after_import([_UNITS_MODULE], lambda module: self._safely(self._hook_units, module))

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

    def _safely(self, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except Exception as error:
            self._error = self._error or error

    def _hook(self, module: Any) -> None:
        kernel, registry = module.VllmJitKernel, getattr(module, "JitWarmupRegistry", None)
        for each in _subclasses(kernel):
            _name_owner(each)
        kernel.__init__ = _with_owner(kernel.__init__)
        if self._depth.level.has_kernels:
            return
        if registry is not None:
            registry.warmup = lambda of: self._safely(self._list, of)
        else:
            kernel.warmup = lambda of, *args, **kwargs: self._safely(self._list_keys_of, of, args, kwargs)

    def _list(self, registry: Any) -> None:
        """Record the keys in place of compiling them."""
        for kernel, key in keys(registry):
            self._list_key(kernel, key)

    def _list_keys_of(self, kernel: Any, args: Any, kwargs: Any) -> None:
        for key in dict.fromkeys(kernel.get_warmup_keys(*args, **kwargs)):
            self._list_key(kernel, key)

    def _list_key(self, kernel: Any, key: Any) -> None:
        self._listed.append(_listed(_compiler(type(kernel)), type(kernel).__qualname__, key, _owner(kernel, key)))

    def _hook_units(self, module: Any) -> None:
        collect = module._collect_unique_compile_units

        @wraps(collect)
        def collect_with_owner(*args: Any) -> Any:
            units = collect(*args)
            if self._depth.level.has_kernels:
                return [self._with_owner(unit) for unit in units]
            for unit in units:
                self._safely(self._list_unit, unit)
            return []

        module._collect_unique_compile_units = collect_with_owner

    def _with_owner(self, unit: Any) -> Any:
        try:
            return replace(unit, compile=_run_as(_owner_of_unit(unit), unit.compile))
        except Exception as error:
            self._error = self._error or error
            return unit

    def _list_unit(self, unit: Any) -> None:
        self._listed.append(_listed(Compiler.CUTE_DSL, str(unit.name), unit.key, _owner_of_unit(unit)))


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


def _listed(compiler: Compiler, kernel: str, key: Any, owner: str) -> KernelEvent:
    names = getattr(type(key), "__dataclass_fields__", ())
    return KernelEvent(
        compiler=compiler,
        kernel=kernel,
        key=repr(key),
        outcome=KernelOutcome.LISTED,
        source=KernelSource.REGISTRY,
        components={name: component(getattr(key, name)) for name in names},
        owner=owner,
    )


def _compiler(kernel: type) -> Compiler:
    return next(
        (_COMPILERS[base.__module__] for base in kernel.__mro__ if base.__module__ in _COMPILERS), Compiler.CUTE_DSL
    )


def _owner(kernel: Any, key: Any) -> str:
    # The key's own text begins with the names of both classes.
    text = repr(key).removeprefix(f"{type(kernel).__qualname__}.")
    return component(f"{type(kernel).__qualname__} {text}")


def _owner_of_unit(unit: Any) -> str:
    return component(f"{unit.name} {unit.key!r}")


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
    if not inspect.isfunction(compile_key) or hasattr(compile_key, _WRAPPED):
        return

    @wraps(compile_key)
    def compile(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            owner = _owner(self, key)
        except Exception:  # a key without a text: it has no owner, and is compiled as ever
            return compile_key(self, key, *args, **kwargs)
        return _run_as(owner, compile_key)(self, key, *args, **kwargs)

    setattr(compile, _WRAPPED, True)
    kernel.compile = compile  # type: ignore[attr-defined]


def _run_as(owner: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the same, as the owner of the kernels that it has compiled."""

    def run(*args: Any, **kwargs: Any) -> Any:
        token = OWNER.set(owner)
        try:
            return function(*args, **kwargs)
        finally:
            OWNER.reset(token)

    return run
