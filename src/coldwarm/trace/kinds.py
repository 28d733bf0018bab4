"""The kinds of records that coldwarm understands: a type for each, and the parsers of those that PyTorch writes.

The parsers of an engine's own records come with its vocabulary (coldwarm/trace/vocabulary.py). A parser returns None
for a record with an unexpected layout (a different version of torch or of the engine); such a record is skipped and
counted, like one of an unknown kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coldwarm.trace.records import TraceRecord, read_json
from coldwarm.trace.triton_launches import TritonLaunches, read_launches

_SECONDS_A_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a record in a trace, and the compilation that it belongs to."""

    file: str
    """The trace file's name."""
    line: int
    clock: float
    """Seconds since midnight."""
    thread: int
    compile_id: tuple[object, object]
    """Dynamo's frame and its compilation; (None, None) outside of Dynamo, for example for vLLM's subgraphs."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def seconds_since(self, earlier: Location) -> float:
        """Return the seconds since `earlier`, also across midnight; 0.0 if the clock was set back in between."""
        seconds = self.clock - earlier.clock
        # A clock that goes back by more than half a day has passed midnight.
        return max(0.0, seconds if seconds > -_SECONDS_A_DAY / 2 else seconds + _SECONDS_A_DAY)


@dataclass(frozen=True, slots=True)
class SpanEdge:
    """A timed span of the compiler begins or ends (torch/_dynamo/utils.py, `ChromiumEventLogger`)."""

    location: Location
    name: str
    begins: bool
    seconds: float
    """Seconds since the epoch."""
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelCompileStart:
    """The engine begins to compile a model."""

    location: Location
    name: str
    """The engine's name for the model, for example ``backbone`` or ``eagle_head``."""


@dataclass(frozen=True, slots=True)
class PiecewiseCompileStart:
    """The engine passes a subgraph to the compiler."""

    location: Location
    index: int
    """Its number among the compiled subgraphs, from 0."""
    submodule: str
    total: int
    compile_range: tuple[int, int]
    """The range of token counts that it is compiled for."""


@dataclass(frozen=True, slots=True)
class GraphDump:
    """A graph as readable code: the engine's dump of a subgraph, or AOTAutograd's lowered graph."""

    location: Location
    name: str
    """``aot_inference_graph``, or the engine's name for its dump (`TraceVocabulary.dump_prefix`)."""
    code: str


@dataclass(frozen=True, slots=True)
class CacheEvent:
    """A lookup in a cache (torch/_functorch/_aot_autograd/autograd_cache.py, torch/_inductor/compile_fx.py)."""

    location: Location
    layer: str
    """``AOTAutograd`` or ``FX graph``."""
    outcome: str
    """``hit``, ``miss`` or ``bypass``."""
    key: str | None
    components: list[str]
    """The components of the key, each ``[hash] name: value``; some events have none."""
    reason: str | None
    """Why the cache was bypassed."""


@dataclass(frozen=True, slots=True)
class KernelsLoaded:
    """Inductor loads a module with kernels, newly generated or not (torch/_inductor/graph.py)."""

    location: Location
    native: int
    """The number of C++ kernels."""
    triton: int


@dataclass(frozen=True, slots=True)
class RunnableGraph:
    """What Inductor writes down of a graph, so that it can be run again (torch/_dynamo/repro/after_aot.py)."""

    location: Location
    offsets: dict[int, int]
    """Where its inputs begin in their storage, in elements, by the number of the input; offsets of 0 are omitted."""
    launches: TritonLaunches


@dataclass(frozen=True, slots=True)
class FrameCompiled:
    """Dynamo has finished a frame (torch/_dynamo/utils.py, `CompilationMetrics`)."""

    location: Location
    function: str | None
    """None: not a frame of Dynamo, for example vLLM's piecewise compilation."""
    source: str | None
    """The file and line of the function."""
    failure: str | None


TypedRecord = (
    SpanEdge
    | ModelCompileStart
    | PiecewiseCompileStart
    | GraphDump
    | CacheEvent
    | KernelsLoaded
    | RunnableGraph
    | FrameCompiled
)
Parser = Callable[[TraceRecord, Location], TypedRecord | None]

_CACHE_LAYERS = {"aotautograd": "AOTAutograd", "fx_graph": "FX graph"}
_CACHE_EVENT = re.compile(r"artifact:(aotautograd|fx_graph)(?:_bundled)?_cache_(hit|miss|bypass)")


# An input as Inductor writes it in a runnable graph.
_INPUT_OFFSET = re.compile(r"reader\.tensor\(.*\bstorage_offset=(\d+).*\)  # arg(\d+)_1")


def parser_of(kind: str) -> Parser | None:
    """Return the parser for records of `kind` (`TraceRecord.kind`); None if coldwarm does not need them."""
    return _PARSERS.get(kind)


def _span_edge(record: TraceRecord, location: Location) -> SpanEdge | None:
    match payload_json(record):
        case {"name": str(name), "ph": "B" | "E" as edge, "ts": int() | float() as microseconds, **rest}:
            facts = rest.get("args")
            return SpanEdge(location, name, edge == "B", microseconds / 1e6, facts if isinstance(facts, dict) else {})
    return None


def _graph_dump(record: TraceRecord, location: Location) -> GraphDump | None:
    match record.metadata["graph_dump"]:
        case {"name": str(name)}:
            return GraphDump(location, name, record.text())
    return None


def _graph_of_kind(record: TraceRecord, location: Location) -> GraphDump:
    return GraphDump(location, record.kind(), record.text())


def _cache_event(record: TraceRecord, location: Location) -> CacheEvent | None:
    found = _CACHE_EVENT.fullmatch(record.kind())
    content = payload_json(record)
    if found is None or not isinstance(content, dict):
        return None
    key, components = content.get("key"), content.get("components")
    reason = content.get("cache_bypass_reason")
    return CacheEvent(
        location,
        _CACHE_LAYERS[found[1]],
        found[2],
        key if isinstance(key, str) else None,
        [str(each) for each in components] if isinstance(components, list) else [],
        None if reason is None else str(reason),
    )


def _kernels_loaded(record: TraceRecord, location: Location) -> KernelsLoaded:
    payload = record.payload
    return KernelsLoaded(location, payload.count(b"async_compile.cpp"), payload.count(b"async_compile.triton("))


def _runnable_graph(record: TraceRecord, location: Location) -> RunnableGraph:
    code = record.text()
    offsets = {int(number): int(offset) for offset, number in _INPUT_OFFSET.findall(code)}
    return RunnableGraph(location, offsets, read_launches(code))


def _frame_compiled(record: TraceRecord, location: Location) -> FrameCompiled | None:
    metrics = record.metadata["compilation_metrics"]
    if not isinstance(metrics, dict):
        return None
    file, line = metrics.get("co_filename"), metrics.get("co_firstlineno")
    failure = metrics.get("fail_reason")
    return FrameCompiled(
        location,
        metrics.get("co_name"),
        None if file is None else f"{file}:{line}",
        None if failure is None else str(failure),
    )


def payload_json(record: TraceRecord) -> Any:
    """Return the record's payload as JSON; None if it is not JSON."""
    try:
        return read_json(record.payload)
    except ValueError:
        return None


_PARSERS: dict[str, Parser] = {
    "chromium_event": _span_edge,
    "graph_dump": _graph_dump,
    "aot_inference_graph": _graph_of_kind,
    "inductor_output_code": _kernels_loaded,
    "compilation_metrics": _frame_compiled,
    "artifact:fx_graph_runnable": _runnable_graph,
    **{
        f"artifact:{layer}_cache_{outcome}": _cache_event
        for layer in ("aotautograd", "fx_graph", "fx_graph_bundled")
        for outcome in ("hit", "miss", "bypass")
    },
}
