"""Observations from within the process of a start, as plain data."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from coldwarm.core.deferred_model import DeferredModel

FILES_RECORDED = 100
"""Of each kind of use."""


class MissingBytecode(DeferredModel):
    """Modules without cached bytecode, or with outdated bytecode."""

    modules: int
    """How many modules Python compiled from source."""
    seconds: float
    """The time that compiling them took."""
    modules_again: int
    """How many of these every new process recompiles, because their bytecode could not be stored."""
    seconds_again: float
    roots: list[str] = Field(default_factory=list)
    """The outermost folders of `sys.path` that contain them."""
    switched_off: bool = False
    """Whether bytecode caching is disabled (PYTHONDONTWRITEBYTECODE, ``-B``); otherwise, writing it failed."""
    python: str = "python"
    """The interpreter whose version determines the bytecode."""


MOST_LONG_CALLS = 500
"""A process records at most this many long calls."""


class LongCall(DeferredModel):
    """A call in which the main thread of a process stayed for long."""

    begin: float
    """Seconds since the epoch."""
    seconds: float
    where: str
    """The line that calls, as ``file:line``."""
    function: str
    """The qualified name of the function that the line is in."""
    operator: str | None = None
    """The operator of PyTorch that the line calls, such as ``_moe_C.moe_wna16_marlin_gemm``; None: it calls none."""


class OutsideUse(DeferredModel):
    """Files outside of a start's own folders that its process opened, sorted; the first 100 of each."""

    caches_written: list[str] = Field(default_factory=list)
    """Files in the user's own caches."""
    caches_read: list[str] = Field(default_factory=list)
    """Files in the user's own caches."""
    written: list[str] = Field(default_factory=list)
    """Files anywhere else."""


def combined(uses: Iterable[OutsideUse]) -> OutsideUse:
    """Return the files that any of several processes of a start opened."""
    found = list(uses)
    return OutsideUse(
        caches_written=sorted({file for use in found for file in use.caches_written})[:FILES_RECORDED],
        caches_read=sorted({file for use in found for file in use.caches_read})[:FILES_RECORDED],
        written=sorted({file for use in found for file in use.written})[:FILES_RECORDED],
    )
