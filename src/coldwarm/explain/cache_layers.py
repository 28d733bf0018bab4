"""Which cache layer had what a start asked for, and which did not."""

from __future__ import annotations

import re

from pydantic import BaseModel

from coldwarm.starts.record import StartRecord
from coldwarm.trace.kinds import KernelsLoaded, TypedRecord
from coldwarm.trace.reader import TraceFile

_NATIVE_LIBRARY = re.compile(r"\.main\.so$")
_TRITON_KERNEL = re.compile(r"\.(cubin|hsaco)$")


class LayerCounts(BaseModel):
    """What one layer said in one start."""

    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    """How often it was not asked, since no key could be made."""
    saved: int | None = None
    """None: not counted."""


class CacheLayer(BaseModel):
    """One layer, cold beside warm."""

    name: str
    cold: LayerCounts | None
    """None: the start did not finish."""
    warm: LayerCounts | None


class KernelCounter:
    """Counts the kernels of the modules that Inductor loads, built anew or not, as a consumer of the trace."""

    def __init__(self) -> None:
        self.native = 0
        self.triton = 0

    def begin(self, file: TraceFile) -> None:
        """Every rank's kernels count: each loads its own."""

    def take(self, record: TypedRecord) -> None:
        """Count `record`."""
        if isinstance(record, KernelsLoaded):
            self.native += record.native
            self.triton += record.triton


def cache_layers(
    cold: StartRecord | None, warm: StartRecord | None, cold_kernels: KernelCounter, warm_kernels: KernelCounter
) -> list[CacheLayer]:
    """Every layer's counts, the engine's first; the kernels' are 0 where a start has no trace."""
    before, after = _counts(cold, cold_kernels), _counts(warm, warm_kernels)
    names = list(before or after or {})
    return [
        CacheLayer(name=name, cold=before[name] if before else None, warm=after[name] if after else None)
        for name in names
    ]


def _counts(record: StartRecord | None, kernels: KernelCounter) -> dict[str, LayerCounts] | None:
    if record is None or record.facts is None:
        return None
    counter = record.facts.counters.get
    native = sum(1 for path in record.files_written if _NATIVE_LIBRARY.search(path))
    triton = sum(1 for path in record.files_written if _TRITON_KERNEL.search(path))
    return {
        "vLLM, whole function": LayerCounts(
            hits=counter("vllm.num_aot_artifacts_loaded", 0),
            misses=counter("vllm.num_aot_compiles", 0),
            saved=counter("vllm.num_aot_artifacts_saved", 0),
        ),
        "vLLM, artifacts": LayerCounts(
            hits=counter("vllm.num_compiled_artifacts_loaded", 0),
            misses=counter("vllm.num_compiled_artifacts_saved", 0),
            saved=counter("vllm.num_compiled_artifacts_saved", 0),
        ),
        "AOTAutograd": LayerCounts(
            hits=counter("torch.aot_autograd.autograd_cache_hit", 0),
            misses=counter("torch.aot_autograd.autograd_cache_miss", 0),
            bypasses=counter("torch.aot_autograd.autograd_cache_bypass", 0),
            saved=counter("torch.aot_autograd.autograd_cache_saved", 0),
        ),
        "FX graph": LayerCounts(
            hits=counter("torch.inductor.fxgraph_cache_hit", 0),
            misses=counter("torch.inductor.fxgraph_cache_miss", 0),
            bypasses=counter("torch.inductor.fxgraph_cache_bypass", 0),
        ),
        "Triton kernels": LayerCounts(hits=max(0, kernels.triton - triton), misses=triton, saved=triton),
        "C++ kernels": LayerCounts(hits=max(0, kernels.native - native), misses=native, saved=native),
    }
