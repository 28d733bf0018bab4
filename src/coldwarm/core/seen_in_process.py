"""What was seen from within the process of a start, as plain data."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, Field

FILES_RECORDED = 100
"""Of each kind of use."""


class MissingBytecode(BaseModel):
    """Modules of which there was no bytecode, or none that fits their source."""

    modules: int
    """How many Python compiled from source."""
    seconds: float
    """The time that took."""
    modules_again: int
    """Of those, how many each new process compiles again: what was compiled could not be kept."""
    seconds_again: float
    roots: list[str] = Field(default_factory=list)
    """The folders of `sys.path` that they lie in, without those that lie in another."""
    switched_off: bool = False
    """Whether Python was told to keep no bytecode (PYTHONDONTWRITEBYTECODE, ``-B``); else it could not write it."""
    python: str = "python"
    """The interpreter, whose version the bytecode is for."""


class OutsideUse(BaseModel):
    """Files outside of a start's own folders that its process opened, sorted; the first 100 of each."""

    caches_written: list[str] = Field(default_factory=list)
    """In folders where the user's own starts keep caches."""
    caches_read: list[str] = Field(default_factory=list)
    """In the same folders."""
    written: list[str] = Field(default_factory=list)
    """Anywhere else."""


def combined(uses: Iterable[OutsideUse]) -> OutsideUse:
    """Return what several processes of a start opened, as if one had."""
    found = list(uses)
    return OutsideUse(
        caches_written=sorted({file for use in found for file in use.caches_written})[:FILES_RECORDED],
        caches_read=sorted({file for use in found for file in use.caches_read})[:FILES_RECORDED],
        written=sorted({file for use in found for file in use.written})[:FILES_RECORDED],
    )
