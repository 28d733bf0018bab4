"""The ids of the invariants."""

from __future__ import annotations

from enum import StrEnum


class InvariantId(StrEnum):
    """The ids of the invariants, in the order in which they are checked."""

    COMPILES = "cold-compiles"
    ONLY_UNIQUE = "cold-only-unique"
    SAVES_NOTHING = "warm-saves-nothing"
    LOADS_ALL = "warm-loads-all"
    NO_COMPILER = "warm-no-compiler"
    SAME_OUTPUT = "warm-same-output"
    READY_NO_COMPILER = "ready-no-compiler"
    """Only checked if the kernel compilers were observed."""
