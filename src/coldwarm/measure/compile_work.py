"""Counts in a trace what the compiler did in a start: unique subgraphs and code generations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from coldwarm.core.compiler_work import CompiledFunction, CompiledGraph, CompilerWork
from coldwarm.trace.kinds import CacheEvent, PiecewiseCompileStart, SpanEdge, TypedRecord
from coldwarm.trace.reader import TraceFile, TraceStats
from coldwarm.trace.unique import answers, is_unique

# The span that Inductor opens around lowering a graph to code (torch/_inductor/graph.py, `codegen`); the spans of
# loading a saved artifact have other names.
_CODE_GENERATION = "GraphLowering.codegen"


class CompilerWorkCounter:
    """A trace consumer that counts the work of the compiler, by rank."""

    def __init__(self) -> None:
        self._rank = 0
        self._ranks_seen: set[int] = set()
        self._code_generations: Counter[int] = Counter()
        self._compiled: Counter[int] = Counter()
        self._unique: Counter[int] = Counter()
        self._ranges: set[tuple[int, int]] = set()
        self._subgraph: PiecewiseCompileStart | None = None

    def begin(self, file: TraceFile) -> None:
        """Continue with the rank of `file`: no subgraph has records in two files."""
        self._rank = file.rank
        self._ranks_seen.add(file.rank)
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

    def work(
        self,
        trace_stats: TraceStats,
        graphs: Sequence[CompiledGraph] = (),
        functions: Sequence[CompiledFunction] = (),
    ) -> CompilerWork:
        """Return the counts of a trace, with the statistics of reading it and what was found in it."""
        return CompilerWork(
            files=trace_stats.files,
            records=trace_stats.records,
            garbled_lines=trace_stats.malformed.count,
            passed_over=dict(sorted(trace_stats.skipped.items())),
            code_generations=_most(self._code_generations),
            traced_ranks=sorted(self._ranks_seen),
            code_generations_by_rank=dict(sorted(self._code_generations.items())),
            subgraphs_compiled=_most(self._compiled),
            subgraphs_unique=_most(self._unique),
            compile_ranges=max(1, len(self._ranges)),
            graphs=list(graphs),
            functions=list(functions),
        )


def _most(by_rank: Counter[int]) -> int:
    return max(by_rank.values(), default=0)
