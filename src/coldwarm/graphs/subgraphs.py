"""Groups the subgraphs that a cold start compiled by the artifact that they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from coldwarm.graphs.graph import Graph, Value
from coldwarm.graphs.readable_code import outline, read_graph, read_inputs
from coldwarm.trace.kinds import (
    CacheEvent,
    GraphDump,
    Location,
    ModelCompileStart,
    PiecewiseCompileStart,
    RunnableGraph,
    SpanEdge,
    TypedRecord,
)
from coldwarm.trace.reader import TraceFile
from coldwarm.trace.triton_launches import TritonLaunches, resolved
from coldwarm.trace.unique import answers, is_unique
from coldwarm.trace.vocabulary import PYTORCH_ONLY


@dataclass
class Subgraph:
    """A subgraph that vLLM passed to the compiler."""

    start: PiecewiseCompileStart
    seconds: float = 0.0
    """The time from the beginning of its compilation to that of the next one."""
    dump: Location | None = None
    """The location of its graph in the trace."""
    dump_name: str = ""
    """The name of that graph in the trace."""
    inputs: list[Value] = field(default_factory=list)
    """The inputs of its graph."""


@dataclass
class SubgraphClass:
    """A group of subgraphs that share one artifact; the first of them was compiled."""

    members: list[Subgraph]
    code: str
    """The graph of the first member, as vLLM split it from the model's graph; empty: not in the trace."""
    lowered_code: str
    """The same graph after AOTAutograd; its types have strides and devices."""
    key: str | None
    """The compiler's cache key; None: the compiler could not compute one."""
    bypass: str | None
    """Why the compiler could not compute a key."""
    offsets: dict[int, int] = field(default_factory=dict)
    """Storage offsets of the first member's inputs, in elements, by number; the others have offset 0."""
    launches: TritonLaunches = field(default_factory=TritonLaunches)
    """The Triton kernels that the process knew when the first member was compiled; empty: not in the trace."""

    @cached_property
    def graph(self) -> Graph:
        """The graph of the first member, parsed when needed: most groups need not be compared."""
        return read_graph(self.code)

    @cached_property
    def launched(self) -> Graph:
        """The graph, in which launches of Triton kernels have the kernel and its constants instead of numbers."""
        return read_graph(resolved(self.code, self.launches))

    @cached_property
    def lowered(self) -> Graph:
        """The same graph after AOTAutograd."""
        return read_graph(self.lowered_code)

    @cached_property
    def inputs(self) -> list[Value]:
        """The inputs of the first member."""
        return read_inputs(self.code)

    @cached_property
    def outline(self) -> str:
        """The first member's code without names that differ between layers."""
        return outline(self.code)

    @property
    def seconds(self) -> float:
        """The compile time."""
        return self.members[0].seconds


@dataclass
class CompiledModel:
    """What vLLM compiled as one model: a language model, an encoder or a drafter."""

    classes: list[SubgraphClass] = field(default_factory=list)
    name: str | None = None
    """vLLM's name for it; None: not in the trace."""

    def subgraphs(self) -> list[Subgraph]:
        """Return all subgraphs, in the order of compilation."""
        return sorted((each for one in self.classes for each in one.members), key=lambda each: each.start.location.line)


class SubgraphCollector:
    """A trace consumer that follows the piecewise compilation of one `rank`.

    vLLM compiles one subgraph after another (vllm/compilation/backends.py, `CompilerManager.compile`). If the
    compiler's key is that of an earlier subgraph, it reuses that artifact without querying AOTAutograd's cache.
    Which subgraphs are unique is defined in coldwarm/trace/unique.py.
    """

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.models: list[CompiledModel] = []
        self._follow = False
        self._names = PYTORCH_ONLY
        self._begins_model = True
        self._name: str | None = None
        self._current: Subgraph | None = None
        self._dumps: dict[str, tuple[Location, str]] = {}
        self._lowered = ""
        self._offsets: dict[int, int] = {}
        self._launches = TritonLaunches()
        self._lookup: CacheEvent | None = None
        self._compiled: set[tuple[str, tuple[int, int]]] = set()
        """The compiled subgraphs of the current model, each with its compile range."""

    def begin(self, file: TraceFile) -> None:
        """Follow only one rank, because all compile the same."""
        self._follow = file.rank == self.rank
        self._names = file.vocabulary
        self._begins_model, self._name = True, None
        self._current = None

    def take(self, record: TypedRecord) -> None:
        """Process `record`."""
        if not self._follow:
            return
        match record:
            case PiecewiseCompileStart():
                self._close(record.location)
                self._open(record)
            case SpanEdge(name=name) if name == self._names.backend_span:
                self._close(record.location)
                self._begins_model, self._name = True, None
            case ModelCompileStart():
                self._name = record.name
            case _ if self._current is None or record.location.compile_id != self._current.start.location.compile_id:
                pass
            case GraphDump(name=name) if name == self._current.dump_name:
                self._dumps[self._current.start.submodule] = record.location, record.code
            case GraphDump(name="aot_inference_graph"):
                self._lowered = record.code
            case RunnableGraph():
                self._offsets, self._launches = record.offsets, record.launches
            case CacheEvent() if answers(record, self._current.start) and not self._is_decided():
                self._lookup = record

    def _is_decided(self) -> bool:
        return self._lookup is not None and is_unique(self._lookup)

    def _open(self, start: PiecewiseCompileStart) -> None:
        # A further compile range of the same model begins again with its first subgraph.
        which = start.submodule, start.compile_range
        if self._begins_model or which in self._compiled:
            self.models.append(CompiledModel(name=self._name))
            self._dumps.clear()
            self._compiled.clear()
        self._begins_model = False
        self._compiled.add(which)
        self._current = Subgraph(start, dump_name=self._names.dump_prefix + start.submodule)
        self._lowered, self._lookup, self._offsets, self._launches = "", None, {}, TritonLaunches()

    def _close(self, end: Location) -> None:
        subgraph = self._current
        if subgraph is None:
            return
        self._current = None
        subgraph.seconds = end.seconds_since(subgraph.start.location)
        # vLLM dumps a subgraph once, for its first compile range.
        subgraph.dump, code = self._dumps.get(subgraph.start.submodule, (None, ""))
        subgraph.inputs = read_inputs(code)
        lookup = self._lookup
        one = SubgraphClass(
            [subgraph],
            code,
            self._lowered,
            lookup.key if lookup else None,
            lookup.reason if lookup else None,
            self._offsets,
            self._launches,
        )
        classes = self.models[-1].classes
        known = None if lookup is not None and is_unique(lookup) else _group_of(one, classes)
        if known is None:
            classes.append(one)
        else:
            known.members.append(subgraph)


def _group_of(one: SubgraphClass, classes: list[SubgraphClass]) -> SubgraphClass | None:
    """Return the group whose artifact the subgraph shares: that of its key, or without a key of its graph and range."""
    if one.key is not None:
        return next((each for each in classes if each.key == one.key), None)
    same_range = [each for each in classes if each.members[0].start.compile_range == one.members[0].start.compile_range]
    # Parsing a graph takes long, and the code of layers that share an artifact is mostly identical.
    identical = (each for each in same_range if each.outline == one.outline)
    return next(identical, None) or next(
        (each for each in same_range if each.graph.digest() == one.graph.digest()), None
    )
