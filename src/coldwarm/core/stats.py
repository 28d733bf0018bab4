"""Engine-neutral compile statistics of one rank in one start."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from coldwarm.core.kernels import Compiler, KernelEvent


class CompilerCounts(BaseModel):
    """What one kernel compiler did in one start."""

    model_config = ConfigDict(frozen=True)

    compiler: Compiler
    compiled: int
    """Kernels compiled or autotuned, each as often as it was."""
    loaded: int
    """Kernels loaded from a cache on disk."""
    listed: int
    """Keys that are known, and of which nothing was compiled at this depth."""
    keys: int
    """The distinct keys of what was compiled."""
    seconds: float | None
    """Wall time in which it compiled, in any thread; None: not known."""
    seconds_loading: float | None
    """Wall time in which it loaded; None: not known."""


class KernelCounts(BaseModel):
    """How often one kernel was compiled in one start."""

    model_config = ConfigDict(frozen=True)

    compiler: Compiler
    kernel: str
    keys: int
    """The distinct keys."""
    times: int
    seconds: float | None
    """Wall time in which it was compiled, in any thread; None: not known."""

    @property
    def label(self) -> str:
        """The compiler and the kernel."""
        return f"{self.compiler} {self.kernel}"


class RepeatedKey(BaseModel):
    """A key that was compiled more than once in one process."""

    model_config = ConfigDict(frozen=True)

    compiler: Compiler
    kernel: str
    key: str
    times: int


class KernelWork(BaseModel):
    """What the kernel compilers did in one rank of a start. Their time may overlap with that of torch.compile."""

    model_config = ConfigDict(frozen=True)

    events: tuple[KernelEvent, ...]
    """All of them, with their phase if it follows from their time."""
    compilers: tuple[CompilerCounts, ...]
    """Those that did anything, in the order of `Compiler`."""
    kernels: tuple[KernelCounts, ...]
    """The compiled kernels, the slowest first."""
    repeated: tuple[RepeatedKey, ...]
    after_ready: tuple[KernelCounts, ...]
    """What was compiled after the engine was ready, the slowest first."""
    without_phase: int
    """How many kernels were compiled in an unknown phase."""
    dropped: int
    """Events that were not recorded, because there were too many."""

    @property
    def compiled(self) -> int:
        """How many kernels were compiled, each as often as it was."""
        return sum(each.compiled for each in self.compilers)

    @property
    def listed(self) -> int:
        """How many keys were only listed."""
        return sum(each.listed for each in self.compilers)


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
    torch_compile: str | None = None
    """Why the engine compiles no model with torch.compile; None: it does, or not recorded."""
    kernels: KernelWork | None = None
    """What kernel compilers did; None: not recorded."""


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
