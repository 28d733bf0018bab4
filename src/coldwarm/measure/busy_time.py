"""When the compiler was busy, and with what: the spans of a trace, overlaid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from coldwarm.trace.kinds import SpanEdge, TypedRecord
from coldwarm.trace.reader import TraceFile


class Stage(StrEnum):
    """A stage of compilation. If several are open at the same time, the time counts towards the first of these.

    An engine has stages of its own (`TraceVocabulary.stages`), which come just before Dynamo.
    """

    NATIVE = "C++/Triton compilation"
    LOAD = "cache load"
    CODE = "Inductor code generation"
    AOT = "AOTAutograd"
    DYNAMO = "Dynamo"


@dataclass(frozen=True, slots=True)
class Busy:
    """A stretch of time with one stage."""

    begin: float
    """Seconds since the epoch."""
    end: float
    stage: str
    """A `Stage`, or one of the engine's own."""
    frame: tuple[object, object] = (None, None)
    """The innermost frame of Dynamo's whose spans were open, and its compilation; (None, None): of none."""


# Names of spans in torch 2.11 to 2.14 (`dynamo_timed` in their sources). Spans that are not listed lie within ones
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
    # The parts of every cache key that tell the version of torch and of Triton.
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
    """Return all stages, the innermost first, with an engine's `own` ones where they belong."""
    return (*(stage for stage in Stage if stage is not Stage.DYNAMO), *dict.fromkeys(own), Stage.DYNAMO)


class BusyTime:
    """Follows the spans of a start's first rank, as a consumer of the trace.

    Spans of several threads lie over one another: a stage lasts as long as any span of it is open.
    """

    def __init__(self) -> None:
        self._stretches: list[Busy] = []
        self._stages = _STAGES
        self._order: tuple[str, ...] = tuple(Stage)
        self._open: Counter[str] = Counter()
        self._frames: list[tuple[str, tuple[object, object]]] = []
        """Of the open spans, the outermost first: their names and frames."""
        self._now: tuple[str, tuple[object, object], float] | None = None
        self._latest = 0.0
        self._follow = False
        self._followed: str | None = None

    def begin(self, file: TraceFile) -> None:
        """Ranks and processes work at the same time: the first tells where a start's time goes."""
        self._close(None)
        self._open.clear()
        self._frames.clear()
        self._follow = self._followed is None
        own = file.vocabulary.stages
        self._stages = {**_STAGES, **own}
        self._order = stages_in_order(own.values())
        self._followed = self._followed or file.path.name

    def take(self, record: TypedRecord) -> None:
        """Open or close a span."""
        if not self._follow or not isinstance(record, SpanEdge) or record.name not in self._stages:
            return
        stage = self._stages[record.name]
        # PyTorch logs some spans when they are over: what was told of that time stays.
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

    @property
    def file(self) -> str | None:
        """The name of the trace file that is followed; None before the first."""
        return self._followed

    def stretches(self) -> list[Busy]:
        """What lay on top, in the order of time, without overlap; a span that never ended has no time."""
        return list(self._stretches)

    def _end_frame(self, name: str) -> None:
        """Forget the latest open span of this name."""
        latest = next((n for n in range(len(self._frames) - 1, -1, -1) if self._frames[n][0] == name), None)
        if latest is not None:
            del self._frames[latest]

    def _close(self, end: float | None) -> None:
        if self._now is not None and end is not None:
            stage, frame, begin = self._now
            self._stretches.append(Busy(begin, end, stage, frame))
        self._now = None
