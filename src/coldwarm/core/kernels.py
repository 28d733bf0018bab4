"""What the compilers of kernels did in a process, event by event, as plain data."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from coldwarm.core.deferred_model import DeferredModel

MOST_EVENTS = 2000
"""A process records at most this many events; `KernelEvents.dropped` counts the rest."""


class Compiler(StrEnum):
    """What compiles kernels when they are first needed, apart from torch.compile."""

    TRITON = "Triton"
    TRITON_AUTOTUNE = "Triton autotune"
    CUTE_DSL = "CuTe DSL"
    TILELANG = "TileLang"
    DEEP_GEMM = "DeepGEMM"
    FLASHINFER = "FlashInfer"
    FLASHINFER_AUTOTUNE = "FlashInfer autotune"
    PTX_JIT = "PTX JIT"
    """The CUDA driver's compiler from PTX to machine code."""
    CPP_EXTENSION = "C++ extension"
    """`torch.utils.cpp_extension` with ninja."""


class KernelOutcome(StrEnum):
    """What came of a request for a kernel."""

    COMPILED = "compiled"
    """Compiled, or autotuned."""
    LOADED = "loaded"
    """Loaded from a cache on disk."""
    LISTED = "listed"
    """Its key is known, and nothing was compiled (at a depth without kernels)."""


class KernelSource(StrEnum):
    """Where an event comes from, the most exact first."""

    REGISTRY = "the engine's registry"
    HOOK = "a hook of the library"
    WRAPPED = "a wrapped function"
    FILES = "files in the cache"


class KernelEvent(DeferredModel):
    """One kernel that was compiled, loaded or listed."""

    compiler: Compiler
    kernel: str
    """The kernel's name, for example ``LLFp32WGemm``."""
    key: str
    """Identifies what was compiled: equal keys of a compiler are the same binary."""
    outcome: KernelOutcome
    source: KernelSource
    begin: float | None = None
    """Seconds since the epoch; None: not known."""
    seconds: float | None = None
    """Wall time. Events in several threads overlap, so add up intervals, not seconds. None: not known."""
    components: dict[str, str] = Field(default_factory=dict)
    """Parts of the key by name (source, signature, constants, options, architecture), to say which one differs."""
    owner: str | None = None
    """What of the engine asked for it, and with which compile key; None: not known."""
    where: str | None = None
    """The line of code outside the library that asked for it, as ``file:line``."""
    phase: str | None = None
    """The phase of the start."""
    cache_folder: str | None = None
    """The folder on disk that stores it; None: it is only in memory, or the folder is not known."""
    why_not_cached: str | None = None
    """Why it was compiled although there may be a cache: the compiler has none on this path, a setting disables it, or
    what it had stored was out of date; None: not known, or there was nothing stored."""


class CompilerStatus(DeferredModel):
    """Whether a compiler could be observed in a process."""

    compiler: Compiler
    version: str | None = None
    """None: the library was not imported."""
    missing: list[str] = Field(default_factory=list)
    """Hooks that this version does not have, so that some events are not seen."""
    setup_seconds: float | None = None
    """Time before the first kernel that every process spends once and that is in no event: Triton hashes its own files.
    None: not known, or there was no kernel."""


class KernelEvents(DeferredModel):
    """Everything that the probes of kernel compilers saw in one process."""

    events: list[KernelEvent] = Field(default_factory=list)
    dropped: int = 0
    """Events beyond `MOST_EVENTS`."""
    compilers: list[CompilerStatus] = Field(default_factory=list)
