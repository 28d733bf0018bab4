"""Finds what initializes CUDA while modules are imported, and answers the most frequent question without CUDA.

A process in which CUDA is initialized cannot be forked: CUDA does not work in its children.
"""

from __future__ import annotations

import ctypes
import functools
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any

from coldwarm.observe.kernels.recorder import short_path

Capability = tuple[int, int]

_NOT_INITIALIZED = 3
"""`CUDA_ERROR_NOT_INITIALIZED` of the driver's API."""


class CudaInitialization:
    """Watches the imports within its ``with`` block.

    `torch.cuda.get_device_capability` is answered there by `capability`, as long as CUDA is not initialized: PyTorch
    initializes CUDA for it, though the driver's management library (NVML) knows the answer. After the block, PyTorch
    answers again, also in modules that keep a reference to the function.

    Args:
        capability: Returns the compute capability of each visible device without initializing CUDA; empty: unknown.
    """

    def __init__(self, capability: Callable[[], list[Capability]]) -> None:
        self._capabilities = functools.cache(capability)
        self._active = False
        self._asking = False
        self._imported = "torch"
        """The module whose import began last."""
        self._driver: ctypes.CDLL | None = None
        self.stack: str = ""
        """Where CUDA was initialized, as a traceback; empty: it was not, or not by Python code."""
        self.cause: str | None = None
        """What initialized CUDA: the line of code, or for native code the module; None: it is not initialized."""
        self.file: str | None = None
        """The file of that line."""

    def __enter__(self) -> CudaInitialization:
        import torch

        self._active = True
        self._torch = torch
        self._replaced: list[tuple[FunctionType, CodeType]] = []
        self._lazy_init = self._redirect("_lazy_init", _lazy_init, self._initialize)
        self._get_device_capability = self._redirect("get_device_capability", _get_device_capability, self._capability)
        # Looking takes 35 µs while the driver's library is not loaded: 0.2 s for vLLM's 6000 modules.
        if hasattr(torch._C, "_cuda_getDeviceCount"):  # a build for CUDA
            sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._active = False
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for function, code in self._replaced:
            function.__code__ = code
            delattr(self._torch.cuda, _target_name(function.__name__))
        if self.cause is None and self._torch.cuda.is_initialized():
            self.cause = "unknown code initialized PyTorch's CUDA"
        self._look_at_driver("")

    def _redirect(self, name: str, stand_in: Callable[..., Any], target: Callable[..., Any]) -> Callable[..., Any]:
        """Have a function of `torch.cuda` call `target`, and return the function as it was.

        Its code is replaced, not the function: Dynamo knows functions by their identity, from its import on.
        """
        function = getattr(self._torch.cuda, name)
        if not isinstance(function, FunctionType) or function.__code__.co_freevars:
            return function  # type: ignore[no-any-return]
        original = FunctionType(function.__code__, function.__globals__, name, function.__defaults__)
        self._replaced.append((function, function.__code__))
        setattr(self._torch.cuda, _target_name(name), target)
        function.__code__ = stand_in.__code__
        return original

    def _initialize(self) -> None:
        """Initialize CUDA, and note what asked for it."""
        if self._torch.cuda.is_initialized():
            self._lazy_init()
            return
        frame: FrameType | None = sys._getframe(1)
        stack = "".join(traceback.format_stack(frame))
        self._lazy_init()
        if self.cause is None and self._torch.cuda.is_initialized():
            self.stack = stack
            own = os.path.dirname(str(self._torch.__file__)) + os.sep  # noqa: PTH120
            while frame is not None and frame.f_code.co_filename.startswith((own, "<frozen", __file__)):
                frame = frame.f_back
            if frame is not None:
                self.file = frame.f_code.co_filename
                code = linecache.getline(self.file, frame.f_lineno).strip()
                self.cause = f"{short_path(self.file)}:{frame.f_lineno} (`{code}`)"

    def _capability(self, device: Any = None) -> Capability:
        if not self._active or self._asking or self._torch.cuda.is_initialized():
            return self._ask(device)
        # An exception, and not finding out, must lead to what happens without coldwarm.
        found: list[Capability] = []
        self._asking = True
        with suppress(Exception):
            found = self._capabilities()
        self._asking = False
        index = _index_of(device)
        # CUDA may number devices in another order than NVML.
        if index is None or not 0 <= index < len(found) or len(set(found)) > 1:
            return self._ask(device)
        return found[index]

    def _ask(self, device: Any) -> Capability:
        major, minor = self._get_device_capability(device)
        return major, minor

    def find_spec(self, name: str, *_: object) -> None:
        """Look at the driver before each import, and leave finding the module to Python (`sys.meta_path`)."""
        if self.cause is None:
            self._look_at_driver(f" and before that of {name}")
            self._imported = name

    def _look_at_driver(self, before: str) -> None:
        """Note between which imports the driver was initialized, if it is and what did so is not known."""
        if self.cause is None and self._driver_is_initialized():
            self.cause = f"native code, after the import of {self._imported} had begun{before}"

    def _driver_is_initialized(self) -> bool:
        """Return whether something in this process has called the driver's ``cuInit``."""
        if self._driver is None:
            with suppress(OSError):
                self._driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD)
        if self._driver is None:
            return False
        return int(self._driver.cuCtxGetCurrent(ctypes.byref(ctypes.c_void_p()))) != _NOT_INITIALIZED


def _target_name(name: str) -> str:
    return f"_coldwarm_{name.removeprefix('_')}"


# The code of these runs as that of the functions of `torch.cuda` whose names they have, with that module's globals.


def _lazy_init():  # type: ignore[no-untyped-def]
    return _coldwarm_lazy_init()  # type: ignore[name-defined]  # noqa: F821


def _get_device_capability(device=None):  # type: ignore[no-untyped-def]
    return _coldwarm_get_device_capability(device)  # type: ignore[name-defined]  # noqa: F821


def _index_of(device: Any) -> int | None:
    """Return the index of a device as PyTorch's functions take it; None: none that can be read off it."""
    if device is None:
        return 0  # the current device, as long as CUDA is not initialized
    if isinstance(device, int):
        return device
    kind, _, index = str(device).partition(":")
    return int(index or 0) if kind == "cuda" and (index or "0").isdigit() else None
