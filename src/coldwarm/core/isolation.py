"""How the process of a start is created, as plain data."""

from __future__ import annotations

from enum import StrEnum


class IsolationKind(StrEnum):
    """How much of the machine's state a start is given anew: everything, or all but what is the same for all models."""

    FORK = "fork"
    """A process forked from one that has imported the engine, once for all starts."""
    SPAWN = "spawn"
    """A new interpreter, which imports everything itself, as in production."""
