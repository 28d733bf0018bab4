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
from types import FrameType, TracebackType
from typing import Any

from coldwarm.observe.kernels.recorder import short_path

Capability = tuple[int, int]

_NOT_INITIALIZED = 3
"""`CUDA_ERROR_NOT_INITIALIZED` of the driver's API."""


class CudaInitialization:
    """Watches the imports within its ``with`` block.

    `torch.cuda.get_device_capability` is answered there by `capability`, as long as CUDA is not initialized: PyTorch
    initializes CUDA for it, though the driver's management library (NVML) knows the answer. Modules that keep a
    reference to the function get PyTorch's own answers after the block.

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
        self._replaced: list[tuple[Any, str, Any]] = []
        if hasattr(torch._C, "_cuda_init"):
            self._replace(torch._C, "_cuda_init", self._initializing)
        self._replace(torch.cuda, "get_device_capability", self._capability)
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._active = False
        sys.meta_path.remove(self)
        for owner, name, original in self._replaced:
            setattr(owner, name, original)
        if self.cause is None and self._torch.cuda.is_initialized():
            self.cause = "unknown code initialized PyTorch's CUDA"
        self._look_at_driver("")

    def _replace(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        self._replaced.append((owner, name, original))
        setattr(owner, name, functools.wraps(original)(functools.partial(function, original)))

    def _initializing(self, original: Callable[[], Any]) -> Any:
        """Take the stack, then initialize CUDA."""
        if self._active and self.cause is None:
            frame: FrameType | None = sys._getframe(1)
            self.stack = "".join(traceback.format_stack(frame))
            own = os.path.dirname(str(self._torch.__file__)) + os.sep  # noqa: PTH120
            while frame is not None and frame.f_code.co_filename.startswith((own, "<frozen", __file__)):
                frame = frame.f_back
            if frame is not None:
                self.file = frame.f_code.co_filename
                code = linecache.getline(self.file, frame.f_lineno).strip()
                self.cause = f"{short_path(self.file)}:{frame.f_lineno} (`{code}`)"
        return original()

    def _capability(self, original: Callable[..., Capability], device: Any = None) -> Capability:
        if not self._active or self._asking or self._torch.cuda.is_initialized():
            return original(device)
        # An exception, and not finding out, must lead to what happens without coldwarm.
        found: list[Capability] = []
        self._asking = True
        with suppress(Exception):
            found = self._capabilities()
        self._asking = False
        index = _index_of(device)
        # CUDA may number devices in another order than NVML.
        if index is None or not 0 <= index < len(found) or len(set(found)) > 1:
            return original(device)
        return found[index]

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


def _index_of(device: Any) -> int | None:
    """Return the index of a device as PyTorch's functions take it; None: none that can be read off it."""
    if device is None:
        return 0  # the current device, as long as CUDA is not initialized
    if isinstance(device, int):
        return device
    kind, _, index = str(device).partition(":")
    return int(index or 0) if kind == "cuda" and (index or "0").isdigit() else None
