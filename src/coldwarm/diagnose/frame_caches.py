"""What the compilers' caches said to each torch.compile beside the engine's own piecewise compilation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from coldwarm.measure.busy_time import BusyTime, Stage
from coldwarm.trace.kinds import CacheEvent, FrameCompiled, PiecewiseCompileStart, TypedRecord
from coldwarm.trace.reader import TraceFile

_OUTSIDE = (None, None)


@dataclass
class Frame:
    """One compilation of one function."""

    events: list[CacheEvent] = field(default_factory=list)
    function: str | None = None
    source: str | None = None
    """``file:line``."""
    seconds: float | None = None
    """The time of its own spans without loading: Dynamo, AOTAutograd, Inductor; None: the trace does not show it."""

    def outcome(self, layer: str) -> CacheEvent | None:
        """What the cache `layer` said; None: it was not asked, or did not say."""
        return next((event for event in self.events if event.layer == layer), None)

    def named(self) -> str:
        """The function, as it is told."""
        return f"{self.function or 'a function without a name'} ({self.source or 'its source is not in the trace'})"


class FrameCaches:
    """Collects them for the first rank, as a consumer of the trace."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, tuple[object, object]], Frame] = {}
        self._of_the_engine: set[tuple[str, tuple[object, object]]] = set()
        self._follow = False
        self._busy = BusyTime()

    def begin(self, file: TraceFile) -> None:
        """Ranks compile the same: one tells."""
        self._follow = file.rank == 0
        self._busy.begin(file)

    def take(self, record: TypedRecord) -> None:
        """Follow `record`."""
        self._busy.take(record)
        if not self._follow or record.location.compile_id == _OUTSIDE:
            return
        match record:
            case PiecewiseCompileStart():
                # Without AOT compilation, Dynamo compiles the engine's model in a frame, too.
                self._of_the_engine.add((record.location.file, record.location.compile_id))
            case CacheEvent():
                self._frame(record).events.append(record)
            case FrameCompiled():
                frame = self._frame(record)
                frame.function, frame.source = record.function, record.source

    def frames(self) -> list[Frame]:
        """Those for which a cache was asked, in the order in which that happened."""
        seconds = self._seconds()
        return [
            replace(frame, seconds=seconds.get(which))
            for which, frame in self._frames.items()
            if frame.events and which not in self._of_the_engine
        ]

    def _seconds(self) -> dict[tuple[str, tuple[object, object]], float]:
        """The time of each frame's spans, by file and frame."""
        found: dict[tuple[str, tuple[object, object]], float] = {}
        for stretch in self._busy.stretches():
            if stretch.stage is not Stage.LOAD:
                which = self._busy.file or "", stretch.frame
                found[which] = found.get(which, 0.0) + stretch.end - stretch.begin
        return found

    def _frame(self, record: TypedRecord) -> Frame:
        return self._frames.setdefault((record.location.file, record.location.compile_id), Frame())
