"""Lays out the time lines of starts: phases, and what each process did when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from coldwarm.core import phases
from coldwarm.core.kernels import KernelEvent, KernelOutcome
from coldwarm.core.record import ProcessReport, StartRecord
from coldwarm.core.stage import Stage
from coldwarm.engines.base import load_vocabulary
from coldwarm.measure.intervals import Interval, merged
from coldwarm.measure.phases import in_order

_MOST_TICKS = 6
_NARROWEST = 0.25
"""Percent of the width of the time line: what is shorter is drawn this wide, so that it can be seen."""


class Group(StrEnum):
    """What a phase belongs to; each group has a colour."""

    PROCESS = "process and imports"
    ENGINE = "model and device"
    COMPILE = "torch.compile"
    CACHE = "compile cache"
    KERNELS = "kernels"
    FIRST_RUN = "memory and first run"
    UNKNOWN = "unaccounted"

    @property
    def css(self) -> str:
        """The name of the group in the style sheet."""
        return self.name.lower().replace("_", "-")


_GROUPS = {
    "process start": Group.PROCESS,
    "import": Group.PROCESS,
    "exit": Group.PROCESS,
    phases.SETUP: Group.ENGINE,
    phases.DEVICE: Group.ENGINE,
    phases.WEIGHTS: Group.ENGINE,
    phases.PROGRAM: Group.ENGINE,
    phases.COMPILE: Group.COMPILE,
    Stage.DYNAMO: Group.COMPILE,
    Stage.AOT: Group.COMPILE,
    Stage.CODE: Group.COMPILE,
    Stage.NATIVE: Group.COMPILE,
    Stage.LOAD: Group.CACHE,
    phases.CACHE_SAVE: Group.CACHE,
    phases.JIT_WARM_UP: Group.KERNELS,
    phases.AUTOTUNING: Group.KERNELS,
    phases.MEMORY_PROFILING: Group.FIRST_RUN,
    phases.KV_CACHE: Group.FIRST_RUN,
    phases.GRAPH_CAPTURE: Group.FIRST_RUN,
    phases.WARM_UP: Group.FIRST_RUN,
    phases.GENERATE: Group.FIRST_RUN,
}


def group_of(phase: str, engine: str) -> Group:
    """Return the group of a phase; the engine's own stages belong to torch.compile."""
    if phase in load_vocabulary(engine).trace.stages.values():
        return Group.COMPILE
    return _GROUPS.get(phase, Group.UNKNOWN)


@dataclass(frozen=True)
class Bar:
    """A part of a lane."""

    name: str
    group: Group
    seconds: float
    left: float
    """Where it begins, in percent of the width of the time line."""
    width: float
    """In percent of the width of the time line."""


@dataclass(frozen=True)
class Lane:
    """What one process did, or what the whole start consists of."""

    label: str
    kind: str
    """``phases``, ``steps`` or ``kernels``."""
    bars: list[Bar]
    note: str = ""
    """What it shows, or why it is empty."""


@dataclass(frozen=True)
class StartTimes:
    """The lanes of one start."""

    name: str
    seconds: float
    outcome: str
    width: float
    """In percent of the width of the time line."""
    lanes: list[Lane]

    @property
    def words(self) -> str:
        """The time line in words, for those who cannot see it."""
        shown = [bar for lane in self.lanes[:1] for bar in lane.bars if bar.seconds >= 0.05]
        parts = [f"{bar.name} {bar.seconds:.1f} s" for bar in shown]
        return f"{self.name}, {self.seconds:.1f} s: {', '.join(parts) or 'no phases recorded'}"


@dataclass(frozen=True)
class Tick:
    """A mark on the axis."""

    label: str
    left: float


@dataclass(frozen=True)
class TimeLine:
    """Starts on a common scale."""

    starts: list[StartTimes]
    ticks: list[Tick]
    groups: list[tuple[Group, list[float]]]
    """The groups that occur, each with its seconds in every start."""
    phases: list[tuple[str, Group, list[float | None]]]
    """The phases that occur, in order, each with its seconds in every start; None: not in this start."""

    @classmethod
    def of(cls, records: Sequence[tuple[str, StartRecord]]) -> Self:
        """Lay out the starts, each with its name."""
        longest = max((record.seconds for _, record in records), default=0.0) or 1.0
        seconds = [{phase.name: phase.seconds for phase in record.phases} for _, record in records]
        engine = records[0][1].engine if records else ""
        names = in_order(name for each in seconds for name in each)
        groups = {name: group_of(name, engine) for name in names}
        return cls(
            starts=[_start(name, record, longest) for name, record in records],
            ticks=list(_ticks(longest)),
            groups=[
                (group, [sum(s for name, s in each.items() if groups[name] is group) for each in seconds])
                for group in Group
                if group in groups.values()
            ],
            phases=[(name, groups[name], [each.get(name) for each in seconds]) for name in names],
        )


def stacked(record: StartRecord, longest: float) -> list[Bar]:
    """Return the phases of a start one after another, on a scale that ends at `longest` seconds."""
    bars, left = [], 0.0
    for phase in record.phases:
        width = 100 * max(0.0, phase.seconds) / longest
        bars.append(Bar(phase.name, group_of(phase.name, record.engine), phase.seconds, left, width))
        left += width
    return [bar for bar in bars if bar.width >= 0.05]


def in_groups(record: StartRecord, longest: float) -> list[Bar]:
    """Return `stacked` with adjacent phases of one group as one bar."""
    found: list[Bar] = []
    for bar in stacked(record, longest):
        if found and found[-1].group is bar.group:
            last = found.pop()
            bar = Bar(bar.group, bar.group, last.seconds + bar.seconds, last.left, bar.left + bar.width - last.left)
        found.append(bar)
    return found


def _start(name: str, record: StartRecord, longest: float) -> StartTimes:
    note = "the seconds of each phase, added up" if record.phases else "no phases recorded"
    lanes = [Lane("phases", "phases", stacked(record, longest), note)]
    lanes += _process_lanes(record, longest)
    return StartTimes(name, record.seconds, record.outcome, 100 * record.seconds / longest, lanes)


def _process_lanes(record: StartRecord, longest: float) -> Iterator[Lane]:
    """Yield the lanes of each process: its steps, and the kernels that were compiled in it."""
    began = record.began.timestamp()
    announcing = next((each for each in record.processes if each.rank == 0), None)
    if record.steps and announcing is None:
        yield Lane("steps", "steps", _steps(record, longest), "as the engine announced them")
    for process in record.processes:
        label = _label(process)
        if process is announcing and record.steps:
            yield Lane(label, "steps", _steps(record, longest), "what the process did when")
        compiled = _compiled(process)
        if compiled:
            bars = _kernel_bars(compiled, began, longest)
            number = len(compiled)
            yield Lane(f"{label}: kernels", "kernels", bars, f"{number} kernel{'' if number == 1 else 's'} compiled")
        elif process is not announcing or not record.steps:
            yield Lane(label, "steps", [], "no steps and no compiled kernels recorded")


def _label(process: ProcessReport) -> str:
    return process.role if process.rank is None else f"{process.role}, rank {process.rank}"


def _steps(record: StartRecord, longest: float) -> list[Bar]:
    began = record.began.timestamp()
    return [
        _bar(step.name, group_of(step.name, record.engine), (step.begin - began, step.end - began), longest)
        for step in record.steps
    ]


def _compiled(process: ProcessReport) -> list[KernelEvent]:
    events = process.kernels.events if process.kernels else []
    return [event for event in events if event.outcome is KernelOutcome.COMPILED and event.begin is not None]


def _kernel_bars(events: Iterable[KernelEvent], began: float, longest: float) -> list[Bar]:
    """Return a bar for each time in which kernels were compiled without a visible gap."""
    spans = [(e.begin - began, e.begin - began + (e.seconds or 0.0), e.kernel) for e in events if e.begin is not None]
    gap = longest * _NARROWEST / 100
    bars = []
    for begin, end in merged([(begin, end + gap) for begin, end, _ in spans]):
        within = [kernel for at, _, kernel in spans if begin <= at <= end]
        names = list(dict.fromkeys(within))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        bars.append(_bar(", ".join(names[:3]) + more, Group.KERNELS, (begin, end - gap), longest))
    return bars


def _bar(name: str, group: Group, interval: Interval, longest: float) -> Bar:
    begin, end = max(0.0, interval[0]), min(longest, interval[1])
    width = max(_NARROWEST, 100 * (end - begin) / longest)
    return Bar(name, group, max(0.0, end - begin), min(100 * begin / longest, 100 - width), width)


def _ticks(longest: float) -> Iterator[Tick]:
    steps = (number * 10**power for power in range(-2, 6) for number in (1, 2, 5))
    step = next((step for step in steps if longest / step <= _MOST_TICKS), longest)
    for number in range(int(longest / step + 1e-9) + 1):
        yield Tick(f"{number * step:g}" + (" s" if number == 0 else ""), 100 * number * step / longest)
