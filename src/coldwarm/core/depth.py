"""The depth of a start: which steps are real, and therefore what can be checked."""

from __future__ import annotations

from enum import StrEnum


class Depth(StrEnum):
    """How much of a start is executed."""

    TRACE = "trace"
    """Dynamo, graph splitting and cache keys, only cold; nothing is compiled, saved, loaded or computed."""
    COUNT = "count"
    """Artifacts are saved and loaded under their real keys, but contain no kernels: they compute zeros."""
    FULL = "full"
    """As in production. On a CPU, kernels are compiled for the cores assigned to the start."""


NOT_CHECKED: dict[Depth, str] = {
    Depth.TRACE: "compilation, saving and loading of artifacts, outputs, timings, or a second model that the engine "
    "compiles (a drafter, an encoder)",
    Depth.COUNT: "the engine's compiler passes, generation and compilation of kernels, compilation inside a kernel or "
    "while tokens are generated, outputs, or timings",
    Depth.FULL: "",
}
"""What a verdict at each depth does not cover."""
