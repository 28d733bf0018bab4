"""What the trace of one start says of the compiler, as plain data."""

from __future__ import annotations

from pydantic import BaseModel, Field


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
    code_generations_by_rank: dict[int, int] = Field(default_factory=dict)
    """The same for each rank that generated code."""
    traced_ranks: list[int] = Field(default_factory=list)
    """The ranks that have a trace file; empty: not recorded."""
    subgraphs_compiled: int
    """Subgraphs that vLLM handed to the compiler."""
    subgraphs_unique: int
    """Those of them that the compiler did not find to be one that it had compiled before."""
    compile_ranges: int = 1
    """For how many ranges of numbers of tokens each subgraph was compiled (vLLM's ``compile_sizes`` adds some)."""
    graphs: list[CompiledGraph] = Field(default_factory=list)
    """Every graph that was compiled, with the subgraphs that share artifacts; empty: not recorded."""
