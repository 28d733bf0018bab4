"""The start method: how the process of a start is created."""

from __future__ import annotations

from enum import StrEnum


class IsolationKind(StrEnum):
    """The start methods, as in `multiprocessing`."""

    FORK = "fork"
    """Fork from a process that has imported the engine once for all starts."""
    SPAWN = "spawn"
    """Use a new interpreter, which imports everything itself, as in production."""
