"""The depth of a start: which steps are real, and therefore what can be checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from coldwarm.core.invariant_ids import InvariantId


class Depth(StrEnum):
    """How much of a start is executed."""

    TRACE = "trace"
    """Dynamo, graph splitting and cache keys, only cold; nothing is compiled, saved, loaded or computed."""
    COUNT = "count"
    """Artifacts are saved and loaded under their real keys, but contain no kernels: they compute zeros."""
    FULL = "full"
    """As in production. On a CPU, kernels are compiled for the cores assigned to the start."""

    @property
    def level(self) -> Level:
        """The steps of a start of this depth, and the coverage of its verdict."""
        return LEVELS[self]


@dataclass(frozen=True)
class Level:
    """The steps of a start of one depth, and the coverage of its verdict."""

    replaced: str
    """The replaced parts of the engine and the compiler; empty: none."""
    observed: str
    """The meaningful recorded data."""
    has_artifacts: bool
    """Whether artifacts are saved, and loaded by a warm start; without them, there is no warm start."""
    has_kernels: bool
    """Whether kernels are generated, compiled and run, so that outputs, timings and PyTorch's own counters are real."""
    checked: tuple[InvariantId, ...]
    """The invariants that are checked."""
    not_checked: str
    """What a verdict does not cover; empty: everything is covered."""


_OF_ARTIFACTS = (
    InvariantId.COMPILES,
    InvariantId.ONLY_UNIQUE,
    InvariantId.SAVES_NOTHING,
    InvariantId.LOADS_ALL,
    InvariantId.NO_COMPILER,
)

LEVELS = {
    Depth.TRACE: Level(
        replaced="the engine stops before the first subgraph is compiled; weights are not initialized",
        observed="the trace, cache keys, the number of subgraphs and of unique ones",
        has_artifacts=False,
        has_kernels=False,
        checked=(InvariantId.COMPILES, InvariantId.ONLY_UNIQUE),
        not_checked="compilation, saving and loading of artifacts, kernels of JIT compilers, outputs, timings, or a "
        "second model that the engine compiles (a drafter, an encoder)",
    ),
    Depth.COUNT: Level(
        replaced="Inductor generates code without kernels, which returns zeros; the engine's compiler passes are left "
        "out; weights are zeros; the engine's JIT warm-up lists its keys and compiles none of them",
        observed="the trace, cache keys, the engine's counters, cached files, the keys of the JIT warm-up",
        has_artifacts=True,
        has_kernels=False,
        checked=_OF_ARTIFACTS,
        not_checked="the engine's compiler passes, generation and compilation of kernels by any compiler, compilation "
        "inside a kernel or while tokens are generated, outputs, or timings",
    ),
    Depth.FULL: Level(
        replaced="",
        observed="the trace, cache keys, all counters, cached files, kernel compilers, outputs, times, memory",
        has_artifacts=True,
        has_kernels=True,
        checked=(*_OF_ARTIFACTS, InvariantId.SAME_OUTPUT, InvariantId.READY_NO_COMPILER),
        not_checked="",
    ),
}
