"""What a trace says the compiler did in a start: unique subgraphs, and how often code was generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, Field

from coldwarm.trace.kinds import CacheEvent, PiecewiseCompileStart, SpanEdge, TypedRecord
from coldwarm.trace.reader import Tally, TraceFile
from coldwarm.trace.unique import answers, is_unique

# The span that Inductor opens around lowering a graph to code (torch/_inductor/graph.py, `codegen`); the spans of
# loading a saved artifact have other names.
_CODE_GENERATION = "GraphLowering.codegen"


class SubgraphGroup(BaseModel):
    """Subgraphs that share one artifact."""

    submodules: list[str]
    part: int
    """The part of the model that they are: subgraphs that take parameters and buffers of the same roles and types, and
    that are first, last or between, have the same number."""
    layers: list[list[str]]
    """For each subgraph, the layers whose parameters it takes, as graphs spell their paths
    (``modules_layers_modules_3``)."""


class CompiledGraph(BaseModel):
    """The graph of one model (a language model, an encoder, a drafter), compiled by one rank for one compile range."""

    rank: int
    model: int
    """The number of the model, in the order in which the rank compiled them."""
    name: str | None = None
    """What the engine calls the model (vLLM: ``backbone``, ``eagle_head``); several may have one name. None: not
    recorded."""
    compile_range: tuple[int, int]
    """Numbers of tokens that it is compiled for."""
    groups: list[SubgraphGroup]


class CompilerWork(BaseModel):
    """What the trace of one start shows.

    Of a start with several ranks, counts are those of the rank with the most: every rank compiles the same.
    """

    files: int
    """Trace files, one a process and rank; 0: PyTorch wrote no trace, and nothing is known."""
    records: int
    garbled_lines: int
    passed_over: dict[str, int] = Field(default_factory=dict)
    """Records that coldwarm has no use for, or does not know, by kind."""
    code_generations: int
    """How often Inductor lowered a graph to code."""
    subgraphs_compiled: int
    """Subgraphs that vLLM handed to the compiler."""
    subgraphs_unique: int
    """Those of them that the compiler did not find to be one that it had compiled before."""
    compile_ranges: int = 1
    """For how many ranges of numbers of tokens each subgraph was compiled (vLLM's ``compile_sizes`` adds some)."""
    graphs: list[CompiledGraph] = Field(default_factory=list)
    """Every graph that was compiled, with the subgraphs that share artifacts; empty: not recorded."""


class CompilerWorkCounter:
    """Counts it, as a consumer of the trace."""

    def __init__(self) -> None:
        self._rank = 0
        self._code_generations: Counter[int] = Counter()
        self._compiled: Counter[int] = Counter()
        self._unique: Counter[int] = Counter()
        self._ranges: set[tuple[int, int]] = set()
        self._subgraph: PiecewiseCompileStart | None = None

    def begin(self, file: TraceFile) -> None:
        """A subgraph's records are all in one file, and a file's records are all of one rank."""
        self._rank = file.rank
        self._subgraph = None

    def take(self, record: TypedRecord) -> None:
        """Count `record`."""
        match record:
            case SpanEdge(name=name, begins=True) if name == _CODE_GENERATION:
                self._code_generations[self._rank] += 1
            case PiecewiseCompileStart():
                self._compiled[self._rank] += 1
                self._ranges.add(record.compile_range)
                self._subgraph = record
            case CacheEvent() if self._subgraph is not None:
                if answers(record, self._subgraph) and is_unique(record):
                    self._unique[self._rank] += 1
                    self._subgraph = None

    def work(self, tally: Tally, graphs: Sequence[CompiledGraph] = ()) -> CompilerWork:
        """The counts of the whole trace that `tally` is of, with the `graphs` that were found in it."""
        return CompilerWork(
            files=tally.files,
            records=tally.records,
            garbled_lines=tally.garbled.count,
            passed_over=dict(sorted(tally.passed_over.items())),
            code_generations=_most(self._code_generations),
            subgraphs_compiled=_most(self._compiled),
            subgraphs_unique=_most(self._unique),
            compile_ranges=max(1, len(self._ranges)),
            graphs=list(graphs),
        )


def _most(by_rank: Counter[int]) -> int:
    return max(by_rank.values(), default=0)
