"""The invariants by name."""

from __future__ import annotations

from enum import StrEnum


class InvariantId(StrEnum):
    """What is always true of a healthy start, in the order in which it is checked."""

    COMPILES = "cold-compiles"
    ONLY_UNIQUE = "cold-only-unique"
    SAVES_NOTHING = "warm-saves-nothing"
    LOADS_ALL = "warm-loads-all"
    NO_COMPILER = "warm-no-compiler"
    SAME_OUTPUT = "warm-same-output"
