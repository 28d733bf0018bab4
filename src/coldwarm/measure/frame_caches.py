"""The answers of the compilers' caches to each torch.compile that is not the engine's own piecewise compilation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from coldwarm.core.stage import Stage
from coldwarm.measure.busy_time import BusyTime
from coldwarm.trace.kinds import CacheEvent, FrameCompiled, PiecewiseCompileStart, TypedRecord
from coldwarm.trace.reader import TraceFile

_OUTSIDE = (None, None)
_Which = tuple[str, tuple[object, object]]
"""A trace file and a frame in it."""


@dataclass
class Frame:
    """One compilation of one function."""

    events: list[CacheEvent] = field(default_factory=list)
    function: str | None = None
    source: str | None = None
    """``file:line``."""
    seconds: float | None = None
    """Of the frame's spans, without loading (Dynamo, AOTAutograd, Inductor); None if the trace has no such spans."""
    began: float | None = None
    """When the first of these spans began, in seconds since the epoch."""

    def outcome(self, layer: str) -> CacheEvent | None:
        """Return the answer of the cache `layer`; None if it was not asked, or its answer was not traced."""
        return next((event for event in self.events if event.layer == layer), None)

    def named(self) -> str:
        """Return the function's name and source, for messages."""
        return f"{self.function or 'a function without a name'} ({self.source or 'its source is not in the trace'})"


class FrameCaches:
    """A trace consumer that collects the frames of one rank: all ranks compile the same.

    Args:
        rank: The rank.
    """

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank
        self._frames: dict[_Which, Frame] = {}
        self._engine_frames: set[_Which] = set()
        self._follow = False
        self._busy = BusyTime()

    def begin(self, file: TraceFile) -> None:
        """Follow `file` if it is of the rank."""
        self._follow = file.rank == self._rank
        if self._follow:
            self._busy.begin(file)

    def take(self, record: TypedRecord) -> None:
        """Follow `record`."""
        if not self._follow:
            return
        self._busy.take(record)
        if record.location.compile_id == _OUTSIDE:
            return
        match record:
            case PiecewiseCompileStart():
                # Without AOT compilation, Dynamo compiles the engine's model in a frame, too.
                self._engine_frames.add((record.location.file, record.location.compile_id))
            case CacheEvent():
                self._frame(record).events.append(record)
            case FrameCompiled():
                frame = self._frame(record)
                frame.function, frame.source = record.function, record.source

    def frames(self) -> list[Frame]:
        """Return the frames that asked a cache, in the order in which they did."""
        seconds, began = self._seconds()
        return [
            replace(frame, seconds=seconds.get(which), began=began.get(which))
            for which, frame in self._frames.items()
            if frame.events and which not in self._engine_frames
        ]

    def _seconds(self) -> tuple[dict[_Which, float], dict[_Which, float]]:
        """Return the seconds of each frame's spans and when they began, by file and frame."""
        found: dict[_Which, float] = {}
        began: dict[_Which, float] = {}
        for file, stretches in self._busy.stretches_by_file().items():
            for stretch in stretches:
                if stretch.stage is not Stage.LOAD:
                    which = file, stretch.frame
                    found[which] = found.get(which, 0.0) + stretch.end - stretch.begin
                    began.setdefault(which, stretch.begin)
        return found, began

    def _frame(self, record: TypedRecord) -> Frame:
        return self._frames.setdefault((record.location.file, record.location.compile_id), Frame())
