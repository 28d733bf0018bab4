"""Which cache layers had what a start asked for, and which did not."""

from __future__ import annotations

import re

from pydantic import BaseModel

from coldwarm.core.record import StartRecord
from coldwarm.core.stats import LayerCounts
from coldwarm.engines.base import load_vocabulary
from coldwarm.trace.kinds import CacheEvent, KernelsLoaded, PiecewiseCompileStart, TypedRecord
from coldwarm.trace.reader import TraceFile
from coldwarm.trace.unique import answers

_NATIVE_LIBRARY = re.compile(r"\.main\.so$")
_TRITON_KERNEL = re.compile(r"\.(cubin|hsaco)$")
# The most written files that are recorded (coldwarm/launch/start.py).
_FILES_RECORDED = 5000


class CacheLayer(BaseModel):
    """One layer, in the cold and the warm start."""

    name: str
    cold: LayerCounts | None
    """None: the start did not finish."""
    warm: LayerCounts | None


class TraceCounter:
    """A trace consumer that counts what no counter shows.

    These are the kernels in the modules that Inductor loads, of all ranks, whether this start built them or not; and
    the artifacts that the engine did not have, so that it asked the compiler's cache for them.
    """

    def __init__(self) -> None:
        self.native = 0
        self.triton = 0
        self.has_trace = False
        self._keys: set[str] = set()
        self._bypasses = 0
        self._follow = False
        self._subgraph: PiecewiseCompileStart | None = None

    @property
    def artifacts(self) -> int:
        """How many artifacts the engine did not have: one for each key, and one for each subgraph without a key."""
        return len(self._keys) + self._bypasses

    def begin(self, file: TraceFile) -> None:
        """Follow the next file."""
        self.has_trace = True
        self._follow = file.rank == 0
        self._subgraph = None

    def take(self, record: TypedRecord) -> None:
        """Count `record`."""
        match record:
            case KernelsLoaded():
                self.native += record.native
                self.triton += record.triton
            case PiecewiseCompileStart() if self._follow:
                self._subgraph = record
            case CacheEvent() if self._subgraph is not None and answers(record, self._subgraph):
                if record.key is None:
                    self._bypasses += 1
                else:
                    self._keys.add(record.key)


def cache_layers(
    cold: StartRecord | None, warm: StartRecord | None, cold_trace: TraceCounter, warm_trace: TraceCounter
) -> list[CacheLayer]:
    """Return the counts of every layer, those of the engine first."""
    before, after = _counts(cold, cold_trace), _counts(warm, warm_trace)
    names = list(before or after or {})
    return [
        CacheLayer(name=name, cold=before[name] if before else None, warm=after[name] if after else None)
        for name in names
    ]


def _counts(record: StartRecord | None, trace: TraceCounter) -> dict[str, LayerCounts] | None:
    if record is None or record.facts is None:
        return None
    counter = record.facts.counters.get
    return {
        **load_vocabulary(record.engine).cache_layers(record, trace.artifacts),
        "AOTAutograd": LayerCounts(
            hits=counter("torch.aot_autograd.autograd_cache_hit"),
            misses=counter("torch.aot_autograd.autograd_cache_miss"),
            bypasses=counter("torch.aot_autograd.autograd_cache_bypass", 0),
            saved=counter("torch.aot_autograd.autograd_cache_saved"),
        ),
        "FX graph": LayerCounts(
            hits=counter("torch.inductor.fxgraph_cache_hit"),
            misses=counter("torch.inductor.fxgraph_cache_miss"),
            bypasses=counter("torch.inductor.fxgraph_cache_bypass", 0),
        ),
        "Triton kernels": _kernels(record, _TRITON_KERNEL, trace.triton if trace.has_trace else None),
        "C++ kernels": _kernels(record, _NATIVE_LIBRARY, trace.native if trace.has_trace else None),
    }


def _kernels(record: StartRecord, pattern: re.Pattern[str], loaded: int | None) -> LayerCounts:
    if len(record.files_written) >= _FILES_RECORDED:
        # The list was cut off.
        return LayerCounts(hits=None, misses=None)
    written = sum(1 for path in record.files_written if pattern.search(path))
    return LayerCounts(hits=None if loaded is None else max(0, loaded - written), misses=written, saved=written)
