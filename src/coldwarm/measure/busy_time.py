"""Computes from the spans of a trace when the compiler was busy, and with which stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from coldwarm.core.stage import Stage
from coldwarm.trace.kinds import SpanEdge, TypedRecord
from coldwarm.trace.reader import TraceFile


@dataclass(frozen=True, slots=True)
class Busy:
    """A period of time with one stage."""

    begin: float
    """Seconds since the epoch."""
    end: float
    stage: str
    """A `Stage`, or one of the engine's stages."""
    frame: tuple[object, object] = (None, None)
    """Dynamo's ids of the innermost frame with an open span, and of its compilation; (None, None) outside of frames."""


# Names of spans in torch 2.11 to 2.14 (`dynamo_timed` in their sources). Spans that are not listed are nested in ones
# that are.
_STAGES: dict[str, str] = {
    "compile_file": Stage.NATIVE,  # torch/_inductor/cpp_builder.py: runs the C++ compiler
    "aoti_precompile_header": Stage.NATIVE,
    "async_compile.wait": Stage.NATIVE,  # torch/_inductor/async_compile.py: for Triton kernels
    "async_compile.precompile": Stage.NATIVE,
    "CachingAutotuner.slow_precompile_config": Stage.NATIVE,
    "CachingAutotuner.benchmark_all_configs": Stage.NATIVE,
    "CachingAutotuner.coordinate_descent_tuning": Stage.NATIVE,
    "AOTAutogradCache.inductor_load": Stage.LOAD,
    "CompiledArtifact.load": Stage.LOAD,
    "GraphPickler.loads": Stage.LOAD,
    "TritonBundler.read_and_emit": Stage.LOAD,
    "TritonBundler.load_cached_static_autotuners": Stage.LOAD,
    "precompile_load_guards": Stage.LOAD,
    # The components of every cache key for the versions of torch and Triton.
    "inductor_codecache_torch_key": Stage.LOAD,
    "CacheBase.get_system.triton_key": Stage.LOAD,
    "inductor_compile": Stage.CODE,
    "compile_fx_inner": Stage.CODE,
    "fx_codegen_and_compile": Stage.CODE,
    "create_aot_dispatcher_function": Stage.AOT,
    "aot_trace_joint_graph": Stage.AOT,
    "dynamo": Stage.DYNAMO,
    "fullgraph_capture": Stage.DYNAMO,
    "entire_frame_compile": Stage.DYNAMO,
    "_compile.compile_inner": Stage.DYNAMO,
    "bytecode_tracing": Stage.DYNAMO,
}


_NO_FRAME = (None, None)


def stages_in_order(own: Iterable[str]) -> tuple[str, ...]:
    """Return all stages, innermost first, with an engine's `own` stages inserted before Dynamo."""
    return (*(stage for stage in Stage if stage is not Stage.DYNAMO), *dict.fromkeys(own), Stage.DYNAMO)


@dataclass
class _File:
    """A trace file."""

    name: str
    rank: int
    names_rank: bool
    process: int | None = None
    """What PyTorch writes as its process in the first span; None: it has no span."""
    stretches: list[Busy] = field(default_factory=list)

    def seconds(self) -> float:
        return sum(each.end - each.begin for each in self.stretches)


class BusyTime:
    """A trace consumer that follows the spans of a start's first rank: 0, or a higher one on a further node.

    Spans of several threads overlap: a stage lasts as long as any of its spans is open.
    """

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._stages = _STAGES
        self._order: tuple[str, ...] = tuple(Stage)
        self._open: Counter[str] = Counter()
        self._frames: list[tuple[str, tuple[object, object]]] = []
        """The names and frames of the open spans, outermost first."""
        self._now: tuple[str, tuple[object, object], float] | None = None
        self._latest = 0.0

    def begin(self, file: TraceFile) -> None:
        """Follow `file`."""
        self._close(None)
        self._open.clear()
        self._frames.clear()
        self._latest = 0.0
        self._files.append(_File(file.path.name, file.rank, file.names_rank))
        own = file.vocabulary.stages
        self._stages = {**_STAGES, **own}
        self._order = stages_in_order(own.values())

    def take(self, record: TypedRecord) -> None:
        """Open or close a span."""
        if not self._files or not isinstance(record, SpanEdge) or record.name not in self._stages:
            return
        if self._files[-1].process is None:
            self._files[-1].process = record.location.thread
        stage = self._stages[record.name]
        # PyTorch logs some spans after they ended: the time before the latest record is already assigned.
        now = self._latest = max(self._latest, record.seconds)
        if record.begins:
            self._open[stage] += 1
            self._frames.append((record.name, record.location.compile_id))
        elif self._open[stage]:
            self._open[stage] -= 1
            self._end_frame(record.name)
        top = next((each for each in self._order if self._open[each]), None)
        frame = next((each for _, each in reversed(self._frames) if each != _NO_FRAME), _NO_FRAME)
        if self._now is None or self._now[:2] != (top, frame):
            self._close(now)
            self._now = None if top is None else (top, frame, now)

    def stretches(self) -> list[Busy]:
        """Return the periods in the order of time, without overlap; a span that never ended has no time.

        They are those of the process of the first rank that was busy for the longest time, because ranks and processes
        work at the same time. It may have begun a second file, as PyTorch does when its logging is set up again.
        """
        first = min((file.rank for file in self._files if file.names_rank), default=0)
        of_first = {file.process for file in self._files if file.names_rank and file.rank == first}
        of_others = {file.process for file in self._files if file.names_rank} - of_first
        processes: dict[int | None, list[_File]] = {}
        for file in self._files:
            if file.rank == first if file.names_rank else file.process not in of_others:
                processes.setdefault(file.process, []).append(file)
        files = max(processes.values(), key=lambda each: sum(file.seconds() for file in each), default=[])
        merged: list[Busy] = []
        for each in sorted((each for file in files for each in file.stretches), key=lambda each: each.begin):
            begin = max(each.begin, merged[-1].end) if merged else each.begin
            if begin < each.end:
                merged.append(replace(each, begin=begin))
        return merged

    def stretches_by_file(self) -> dict[str, list[Busy]]:
        """Return the periods of each trace file, by its name, in the order of time."""
        return {file.name: list(file.stretches) for file in self._files}

    def _end_frame(self, name: str) -> None:
        """Remove the latest open span of this name."""
        latest = next((n for n in range(len(self._frames) - 1, -1, -1) if self._frames[n][0] == name), None)
        if latest is not None:
            del self._frames[latest]

    def _close(self, end: float | None) -> None:
        if self._now is not None and end is not None:
            stage, frame, begin = self._now
            self._files[-1].stretches.append(Busy(begin, end, stage, frame))
        self._now = None
