"""Splits a start's wall time into phases: the steps that the engine announced, and the compiler's stages in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coldwarm.core.phases import (
    AUTOTUNING,
    CACHE_SAVE,
    COMPILE,
    DEVICE,
    GENERATE,
    GRAPH_CAPTURE,
    JIT_WARM_UP,
    KV_CACHE,
    MEMORY_PROFILING,
    SETUP,
    UNACCOUNTED,
    WARM_UP,
    WEIGHTS,
    Phase,
    Step,
)
from coldwarm.core.stage import Stage
from coldwarm.measure.busy_time import Busy

_OTHER = ""
"""The position of the engine's own stages and of unknown phases."""

_ORDER = (
    "process start",
    "import",
    SETUP,
    DEVICE,
    WEIGHTS,
    Stage.DYNAMO,
    _OTHER,
    Stage.AOT,
    Stage.CODE,
    Stage.NATIVE,
    Stage.LOAD,
    CACHE_SAVE,
    MEMORY_PROFILING,
    KV_CACHE,
    JIT_WARM_UP,
    AUTOTUNING,
    GRAPH_CAPTURE,
    WARM_UP,
    GENERATE,
    "exit",
    UNACCOUNTED,
)


def split(steps: Sequence[Step], stretches: Sequence[Busy]) -> list[Phase]:
    """Return phases that add up to the time of `steps`, in the order in which a start goes through them.

    Time in which the compiler was busy counts towards its stage, in whichever step it was; the rest of a step counts
    towards the step.
    """
    seconds: dict[str, float] = {}
    for step in steps:
        rest = step.end - step.begin
        for stretch in stretches:
            within = min(step.end, stretch.end) - max(step.begin, stretch.begin)
            if within > 0:
                seconds[stretch.stage] = seconds.get(stretch.stage, 0.0) + within
                rest -= within
        name = UNACCOUNTED if step.name == COMPILE else step.name
        seconds[name] = seconds.get(name, 0.0) + rest
    return [Phase(name=name, seconds=seconds[name]) for name in in_order(seconds)]


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of phases in the order in which a start goes through them, each once."""
    found = [str(name) for name in dict.fromkeys(names)]
    order = [str(name) for name in _ORDER]
    return sorted(found, key=lambda name: order.index(name if name in order else _OTHER))
