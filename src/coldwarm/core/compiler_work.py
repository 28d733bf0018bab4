"""Compiler statistics from the trace of a start, as plain data."""

from __future__ import annotations

from pydantic import Field

from coldwarm.core.deferred_model import DeferredModel


class SubgraphGroup(DeferredModel):
    """Subgraphs that share one artifact."""

    submodules: list[str]
    part: int
    """The number of their part of the model. Subgraphs belong to the same part if their parameters and buffers have the
    same roles and types, and if all of them are first, last or between."""
    layers: list[list[str]]
    """For each subgraph, the layers whose parameters it takes, by their paths as spelled in graphs
    (``modules_layers_modules_3``)."""


class CompiledGraph(DeferredModel):
    """The graph of one model (a language model, an encoder, a drafter), compiled by one rank for one compile range."""

    rank: int
    model: int
    """The number of the model, in the order of compilation in this rank."""
    name: str | None = None
    """The engine's name for the model (vLLM: ``backbone``, ``eagle_head``), not always unique. None: not recorded."""
    compile_range: tuple[int, int]
    """The range of token counts that it is compiled for."""
    groups: list[SubgraphGroup]


class CompiledFunction(DeferredModel):
    """A function that the program gave to torch.compile, outside of the engine's own compilation."""

    rank: int
    name: str
    """Its name, and where it is, as ``name (file:line)``."""
    missed: list[str] = Field(default_factory=list)
    """The keys that the AOTAutograd cache did not have."""
    loaded: list[str] = Field(default_factory=list)
    """The keys that it had."""
    bypassed: int = 0
    """How often the cache was bypassed, so that the function was compiled."""
    seconds: float | None = None
    """The time of its compilations, without loading; None: not recorded."""
    compiled_last: float | None = None
    """When its last compilation began, in seconds since the epoch; None: it was not compiled, or not recorded."""


class CompilerWork(DeferredModel):
    """Compiler statistics from the trace of one start.

    With several ranks, each count is that of the rank with the most, because every rank compiles the same.
    """

    files: int
    """Trace files, one for each process and rank; 0: PyTorch wrote no trace, so nothing is known."""
    records: int
    garbled_lines: int
    """Malformed lines."""
    passed_over: dict[str, int] = Field(default_factory=dict)
    """Skipped records, unused or unknown, by kind."""
    code_generations: int
    """How often Inductor generated code for a graph."""
    code_generations_by_rank: dict[int, int] = Field(default_factory=dict)
    """The same for each rank that generated code."""
    traced_ranks: list[int] = Field(default_factory=list)
    """The ranks that have a trace file; empty: not recorded."""
    subgraphs_compiled: int
    """Subgraphs that vLLM passed to the compiler."""
    subgraphs_unique: int
    """Subgraphs that the compiler had not compiled before."""
    compile_ranges: int = 1
    """For how many compile ranges (of token counts) each subgraph was compiled; vLLM's ``compile_sizes`` adds some."""
    graphs: list[CompiledGraph] = Field(default_factory=list)
    """All compiled graphs, with the subgraphs that share artifacts; empty: not recorded."""
    functions: list[CompiledFunction] = Field(default_factory=list)
    """By rank, in the order in which they were compiled."""
