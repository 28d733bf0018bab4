"""Engine-neutral compile statistics of one rank in one start."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class CompileStats(BaseModel):
    """The compile statistics of one rank, computed by the engine's package from its counters and the trace."""

    model_config = ConfigDict(frozen=True)

    rank: int
    subgraphs: int
    """Subgraphs of the compiled models, including identical ones."""
    unique: int | None
    """Subgraphs that are not identical to an earlier one; None: no trace was written."""
    saved: int
    """Artifacts that the engine saved."""
    loaded: int
    """Artifacts that the engine loaded."""
    misses: int
    """Misses of the AOTAutograd cache."""
    code_generations: int | None
    """How often Inductor generated code for a graph; None: no trace was written."""
    compile_ranges: int
    """For how many compile ranges (of token counts) each subgraph is compiled."""
    unreadable_lines: int
    """Lines of the trace that could not be read, in all ranks."""


class LayerCounts(BaseModel):
    """Hits and misses of one cache layer in one start; None: not counted."""

    hits: int | None = 0
    misses: int | None = 0
    """Misses, after which the code was compiled or loaded from a lower layer."""
    bypasses: int = 0
    """How often the cache was bypassed, because no key could be computed."""
    saved: int | None = None
    is_off: bool = False
    """Whether the user disabled it; `misses` then counts what was needed without a lookup."""
