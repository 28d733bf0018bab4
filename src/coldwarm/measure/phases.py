"""Splits a start's wall time into phases: what the engine announced, and within that what the compiler did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coldwarm.core.phases import COMPILE, UNACCOUNTED, WARM_UP, Phase, Step
from coldwarm.measure.busy_time import Busy, Stage

_ENGINES_OWN = ""
"""Where an engine's own stages come, and phases that are not known here."""

_ORDER = (
    "process start",
    "import",
    "engine setup",
    "weights",
    Stage.DYNAMO,
    _ENGINES_OWN,
    Stage.AOT,
    Stage.CODE,
    Stage.NATIVE,
    Stage.LOAD,
    WARM_UP,
    "generate",
    "exit",
    UNACCOUNTED,
)


def split(steps: Sequence[Step], stretches: Sequence[Busy]) -> list[Phase]:
    """Return phases that add up to the time of `steps`, in the order in which a start goes through them.

    Time in which the compiler was busy is the stage's, in whichever step it lay; the rest of a step is the step's.
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
    return sorted(found, key=lambda name: order.index(name if name in order else _ENGINES_OWN))
