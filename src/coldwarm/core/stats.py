"""What one rank compiled, saved and loaded in one start, in terms that no engine owns."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class CompileStats(BaseModel):
    """The compile statistics of one rank; an engine's package makes them from its counters and the trace."""

    model_config = ConfigDict(frozen=True)

    rank: int
    subgraphs: int
    """Pieces of the compiled models' graphs that the engine compiles, equal ones included."""
    unique: int | None
    """Of these, how many the compiler did not find to equal an earlier one; None: no trace was written."""
    saved: int
    """Artifacts that the engine saved."""
    loaded: int
    """Artifacts that the engine loaded."""
    misses: int
    """How often AOTAutograd's cache did not have what it was asked for."""
    code_generations: int | None
    """How often Inductor lowered a graph to code; None: no trace was written."""
    compile_ranges: int
    """For how many ranges of numbers of tokens each subgraph is compiled."""
    unreadable_lines: int
    """Lines of the trace that could not be read, of all ranks."""


class LayerCounts(BaseModel):
    """The answers of one cache layer in one start; None: not counted."""

    hits: int | None = 0
    misses: int | None = 0
    """What it did not have, so that it was compiled or taken from a layer below."""
    bypasses: int = 0
    """How often it was not asked, because no key could be made."""
    saved: int | None = None
    is_off: bool = False
    """Whether the user switched it off: it was not asked for the `misses`."""
