"""Lists the functions that a program gives to torch.compile, and whether they were loaded or compiled."""

from __future__ import annotations

from coldwarm.core.compiler_work import CompiledFunction
from coldwarm.measure.frame_caches import FrameCaches
from coldwarm.trace.kinds import TypedRecord
from coldwarm.trace.reader import TraceFile


class CompiledFunctions:
    """A trace consumer that collects the functions of all ranks."""

    def __init__(self) -> None:
        self._ranks: dict[int, FrameCaches] = {}
        self._current: FrameCaches | None = None

    def begin(self, file: TraceFile) -> None:
        """Continue with the rank of `file`."""
        self._current = self._ranks.setdefault(file.rank, FrameCaches(file.rank))
        self._current.begin(file)

    def take(self, record: TypedRecord) -> None:
        """Follow `record`."""
        if self._current is not None:
            self._current.take(record)

    def functions(self) -> list[CompiledFunction]:
        """Return the functions, each with all of its compilations."""
        found: dict[tuple[int, str], CompiledFunction] = {}
        for rank, frames in sorted(self._ranks.items()):
            for frame in frames.frames():
                event = frame.outcome("AOTAutograd")
                if event is None:
                    continue
                name = frame.named()
                function = found.setdefault((rank, name), CompiledFunction(rank=rank, name=name))
                if event.key is None:
                    function.bypassed += 1
                else:
                    keys = function.loaded if event.outcome == "hit" else function.missed
                    keys.append(event.key)
                if event.outcome != "hit" and frame.began is not None:
                    function.compiled_last = max(frame.began, function.compiled_last or 0.0)
                if frame.seconds is not None:
                    function.seconds = (function.seconds or 0.0) + frame.seconds
        return list(found.values())

    def key_components(self) -> dict[str, list[list[str]]]:
        """Return the components of the keys of each function, one for each compilation of which they were traced."""
        found: dict[str, list[list[str]]] = {}
        for _, frames in sorted(self._ranks.items()):
            for frame in frames.frames():
                event = frame.outcome("FX graph")
                if event is not None and event.components:
                    found.setdefault(frame.named(), []).append(event.components)
        return found
