"""Finds since when a model starts slower, or counts something else, from its runs in the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median

from coldwarm.checks.verdict import Status
from coldwarm.comparison.seconds import SHORTEST_PHASE
from coldwarm.comparison.steps import SHORTEST_SERIES, WINDOW, Step, find_steps
from coldwarm.core.record import StartKind
from coldwarm.store.history.points import Counts, Point, StartPoint

_PHASE = ": "
_COUNTS = tuple(field.name for field in fields(Counts))
_FEWEST_PHASES = 4
"""Fewer phases say nothing about the speed of a whole start."""


@dataclass(frozen=True)
class TimeStep:
    """Seconds that changed from one run to the next, and stayed so."""

    quantity: str
    """``cold``, ``cold CPU``, or ``cold: Dynamo`` for a phase."""
    step: Step
    last: Point
    """The last run before the step."""
    first: Point
    """The first run after it."""


@dataclass(frozen=True)
class CountStep:
    """A count that changed from one run to the next."""

    quantity: str
    before: int
    after: int
    last: Point
    first: Point


@dataclass(frozen=True)
class Trend:
    """What changed in the runs of one model."""

    runs: Sequence[Point]
    """The runs that were examined, the oldest first: those made like the newest one."""
    others: int
    """Runs that were left out, because they did not finish, or were made with other settings or on another machine."""
    times: list[TimeStep]
    """The oldest first."""
    counts: list[CountStep]
    """The oldest first."""

    @property
    def can_tell(self) -> bool:
        """Whether there are enough runs to find a step of seconds."""
        return len(self.runs) >= SHORTEST_SERIES


def trend_of(points: Sequence[Point]) -> Trend:
    """Return what changed in `points`, the runs of one model or command, the oldest first.

    Only runs with the settings, the machine and the isolation of the newest one are compared, at most `WINDOW`. A run
    that was repeated counts with the medians of its starts.

    Raises:
        UsageError: numpy is not installed.
    """
    finished = [point for point in points if point.verdict not in (Status.ERROR, Status.UNSUPPORTED) and point.starts]
    same = [point for point in finished if _made_like(point) == _made_like(finished[-1])][-WINDOW:]
    times: list[TimeStep] = []
    if len(same) >= SHORTEST_SERIES:
        series = _series(same)
        for quantity, steps in find_steps({name: list(values.values()) for name, values in series.items()}).items():
            runs = list(series[quantity])
            times += [TimeStep(quantity, step, same[runs[step.index - 1]], same[runs[step.index]]) for step in steps]
    return Trend(
        runs=same,
        others=len(points) - len(same),
        times=sorted(times, key=lambda each: each.first.when),
        counts=_count_steps(same),
    )


def _made_like(point: Point) -> tuple[str, ...]:
    # Not the number of parallel starts, which changes a little from suite to suite.
    return point.source, point.name, point.settings, point.machine, point.isolation


def _series(runs: Sequence[Point]) -> dict[str, dict[int, float]]:
    """Return the seconds of each quantity by the index of the run; quantities that too few runs have are left out."""
    series: dict[str, dict[int, float]] = {}
    for kind in (*StartKind, "watched"):
        phases: dict[int, dict[str, float]] = {}
        for index, run in enumerate(runs):
            starts = [start for start in run.starts if start.kind == kind and start.finished]
            if not starts:
                continue
            series.setdefault(str(kind), {})[index] = median(start.seconds for start in starts)
            if cpu := [start.cpu_seconds for start in starts if start.cpu_seconds is not None]:
                series.setdefault(f"{kind} CPU", {})[index] = median(cpu)
            phases[index] = _medians(starts)
        series |= {f"{kind}{_PHASE}{name}": values for name, values in _at_the_same_speed(phases).items()}
    return series


def _medians(starts: Sequence[StartPoint]) -> dict[str, float]:
    names = dict.fromkeys(name for start in starts for name in start.phases)
    return {name: median(start.phases.get(name, 0.0) for start in starts) for name in names}


def _at_the_same_speed(runs: Mapping[int, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    """Return the seconds of each phase as if the machine had had the same speed in all runs.

    The speed of a run is the median, over its phases, of the ratio between its seconds and the median of all runs. A
    slower machine changes all phases, and so the median; a slower phase does not. (The median-of-ratios normalization
    of S. Anders and W. Huber, Differential expression analysis for sequence count data, Genome Biology 11, 2010.)
    """
    names = dict.fromkeys(name for phases in runs.values() for name in phases)
    series = {name: {index: phases.get(name, 0.0) for index, phases in runs.items()} for name in names}
    usual = {name: median(values.values()) for name, values in series.items()}
    in_all = [name for name, values in series.items() if usual[name] >= SHORTEST_PHASE and min(values.values()) > 0]
    if len(in_all) >= _FEWEST_PHASES:
        slowness = {index: median(phases[name] / usual[name] for name in in_all) for index, phases in runs.items()}
        series = {
            name: {index: seconds / slowness[index] for index, seconds in values.items()}
            for name, values in series.items()
        }
    return {name: values for name, values in series.items() if max(values.values()) >= SHORTEST_PHASE}


def _count_steps(runs: Sequence[Point]) -> list[CountStep]:
    found = []
    last: dict[str, tuple[int, Point]] = {}
    for run in runs:
        for name, value in _counts(run).items():
            if name in last and last[name][0] != value:
                before, point = last[name]
                found.append(CountStep(name, before, value, point, run))
            last[name] = value, run
    return found


def _counts(run: Point) -> dict[str, int]:
    counts = {}
    for start in run.starts:
        if start.number == 1 and start.finished:
            for name in _COUNTS:
                if (value := getattr(start.counts, name)) is not None:
                    counts[f"{start.kind} {name.replace('_', ' ')}"] = value
    return counts
