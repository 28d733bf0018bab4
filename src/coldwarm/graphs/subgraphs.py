"""The subgraphs that a cold start compiled, each put into its class: those that share an artifact."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from coldwarm.graphs.graph import Graph, Value
from coldwarm.graphs.readable_code import outline, read_graph, read_inputs
from coldwarm.trace.kinds import (
    CacheEvent,
    GraphDump,
    ModelCompileStart,
    PiecewiseCompileStart,
    Place,
    SpanEdge,
    StorageOffsets,
    TypedRecord,
)
from coldwarm.trace.reader import TraceFile
from coldwarm.trace.unique import answers, is_unique
from coldwarm.trace.vocabulary import PYTORCH_ONLY


@dataclass
class Subgraph:
    """One subgraph that vLLM handed to the compiler."""

    start: PiecewiseCompileStart
    seconds: float = 0.0
    """From this one's compilation to the next one's."""
    dump: Place | None = None
    """Where the trace has its graph."""
    dump_name: str = ""
    """What the trace calls that graph."""
    inputs: list[Value] = field(default_factory=list)
    """What goes into it."""


@dataclass
class SubgraphClass:
    """Subgraphs that share one artifact; the first of them was compiled."""

    members: list[Subgraph]
    code: str
    """The graph of the first member, as vLLM cut it out of the model's graph; empty: the trace does not have it."""
    lowered_code: str
    """The same after AOTAutograd; its types tell strides and devices."""
    key: str | None
    """The compiler's cache key; None: the compiler could not make one."""
    bypass: str | None
    """Why the compiler could not make one."""
    offsets: dict[int, int] = field(default_factory=dict)
    """Where the first member's inputs begin in their storage, in elements, by number; the others begin at 0."""

    @cached_property
    def graph(self) -> Graph:
        """Of the first member, read when it is needed: most classes need not be compared with any other."""
        return read_graph(self.code)

    @cached_property
    def lowered(self) -> Graph:
        """The same after AOTAutograd."""
        return read_graph(self.lowered_code)

    @cached_property
    def inputs(self) -> list[Value]:
        """What goes into the first member."""
        return read_inputs(self.code)

    @cached_property
    def outline(self) -> str:
        """The first member's code without the names that tell layers apart."""
        return outline(self.code)

    @property
    def seconds(self) -> float:
        """What compiling it took."""
        return self.members[0].seconds


@dataclass
class CompiledModel:
    """What vLLM compiled as one model: a language model, or an encoder or a drafter beside it."""

    classes: list[SubgraphClass] = field(default_factory=list)
    name: str | None = None
    """vLLM's name for it; None: the trace does not tell."""

    def subgraphs(self) -> list[Subgraph]:
        """All of them, in the order of compilation."""
        return sorted((each for one in self.classes for each in one.members), key=lambda each: each.start.place.line)


class SubgraphCollector:
    """Follows the piecewise compilation of one `rank`, as a consumer of the trace.

    vLLM compiles one subgraph after another (vllm/compilation/backends.py, `CompilerManager.compile`): where the
    compiler's key is that of an earlier one, it stops before AOTAutograd's cache is asked, and takes that artifact.
    Which subgraphs are unique is defined in coldwarm/trace/unique.py.
    """

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank
        self.models: list[CompiledModel] = []
        self._follow = False
        self._names = PYTORCH_ONLY
        self._begins_model = True
        self._name: str | None = None
        self._current: Subgraph | None = None
        self._dumps: dict[str, tuple[Place, str]] = {}
        self._lowered = ""
        self._offsets: dict[int, int] = {}
        self._asked: CacheEvent | None = None
        self._compiled: set[tuple[str, tuple[int, int]]] = set()
        """Of the current model: the subgraphs that were compiled, each with its range of sizes."""

    def begin(self, file: TraceFile) -> None:
        """Ranks compile the same: one tells."""
        self._follow = file.rank == self._rank
        self._names = file.vocabulary
        self._begins_model, self._name = True, None
        self._current = None

    def take(self, record: TypedRecord) -> None:
        """Follow `record`."""
        if not self._follow:
            return
        match record:
            case PiecewiseCompileStart():
                self._close(record.place)
                self._open(record)
            case SpanEdge(name=name) if name == self._names.backend_span:
                self._close(record.place)
                self._begins_model, self._name = True, None
            case ModelCompileStart():
                self._name = record.name
            case _ if self._current is None or record.place.compile_id != self._current.start.place.compile_id:
                pass
            case GraphDump(name=name) if name == self._current.dump_name:
                self._dumps[self._current.start.submodule] = record.place, record.code
            case GraphDump(name="aot_inference_graph"):
                self._lowered = record.code
            case StorageOffsets():
                self._offsets = record.offsets
            case CacheEvent() if answers(record, self._current.start) and not self._is_decided():
                self._asked = record

    def _is_decided(self) -> bool:
        return self._asked is not None and is_unique(self._asked)

    def _open(self, start: PiecewiseCompileStart) -> None:
        # A later compile range of the same model begins with its first subgraph again.
        which = start.submodule, start.compile_range
        if self._begins_model or which in self._compiled:
            self.models.append(CompiledModel(name=self._name))
            self._dumps.clear()
            self._compiled.clear()
        self._begins_model = False
        self._compiled.add(which)
        self._current = Subgraph(start, dump_name=self._names.dump_prefix + start.submodule)
        self._lowered, self._asked, self._offsets = "", None, {}

    def _close(self, end: Place) -> None:
        subgraph = self._current
        if subgraph is None:
            return
        self._current = None
        subgraph.seconds = end.seconds_since(subgraph.start.place)
        # vLLM dumps a subgraph once, for the first of its ranges of sizes.
        subgraph.dump, code = self._dumps.get(subgraph.start.submodule, (None, ""))
        subgraph.inputs = read_inputs(code)
        asked = self._asked
        one = SubgraphClass(
            [subgraph],
            code,
            self._lowered,
            asked.key if asked else None,
            asked.reason if asked else None,
            self._offsets,
        )
        classes = self.models[-1].classes
        known = None if asked is not None and is_unique(asked) else _class_of(one, classes)
        if known is None:
            classes.append(one)
        else:
            known.members.append(subgraph)


def _class_of(one: SubgraphClass, classes: list[SubgraphClass]) -> SubgraphClass | None:
    """The class whose artifact the subgraph was given: that of its key; without a key, of its graph and range."""
    if one.key is not None:
        return next((each for each in classes if each.key == one.key), None)
    same_range = [each for each in classes if each.members[0].start.compile_range == one.members[0].start.compile_range]
    # Reading a graph takes long; layers that share an artifact are mostly alike to the letter.
    alike = (each for each in same_range if each.outline == one.outline)
    return next(alike, None) or next((each for each in same_range if each.graph.digest() == one.graph.digest()), None)
