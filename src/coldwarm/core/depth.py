"""How far a start goes: what it does for real, and so what it can prove."""

from __future__ import annotations

from enum import StrEnum


class Depth(StrEnum):
    """How far a start goes."""

    TRACE = "trace"
    """Dynamo, splitting, cache keys: cold only; nothing is compiled, saved, loaded or computed."""
    COUNT = "count"
    """Artifacts are saved and loaded for real, with real keys, but hold no kernels: they compute zeros."""
    FULL = "full"
    """Everything as in production; on a CPU, beside other starts, with kernels for its share of the cores."""


DOES_NOT_PROVE: dict[Depth, str] = {
    Depth.TRACE: "that anything is compiled, saved or loaded, what the model computes, how long a start takes, or "
    "anything of a second model that the engine compiles (a drafter, an encoder)",
    Depth.COUNT: "that the engine's passes work, that kernels can be generated and compiled, that nothing is compiled "
    "within a kernel or while generating, what the model computes, or how long a start takes",
    Depth.FULL: "",
}
"""What a verdict at each depth says nothing of."""
