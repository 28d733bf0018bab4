"""vLLM's own records in PyTorch's structured trace."""

from __future__ import annotations

from coldwarm.trace.kinds import Location, ModelCompileStart, PiecewiseCompileStart, payload_json
from coldwarm.trace.records import TraceRecord
from coldwarm.trace.vocabulary import TraceVocabulary


def _model_compile_start(record: TraceRecord, location: Location) -> ModelCompileStart | None:
    """vllm/compilation/backends.py, `VllmBackend._log_compilation_config`."""
    match payload_json(record):
        case {"prefix": str(name)}:
            return ModelCompileStart(location, name)
    return None


def _piecewise_compile_start(record: TraceRecord, location: Location) -> PiecewiseCompileStart | None:
    """vllm/compilation/piecewise_backend.py."""
    match payload_json(record):
        case {
            "piecewise_index": int(index),
            "submod_name": str(submodule),
            "total_piecewise_compiles": int(total),
            "compile_range_start": int(first),
            "compile_range_end": int(last),
        }:
            return PiecewiseCompileStart(location, index, submodule, total, (first, last))
    return None


# vllm/compilation/backends.py: splits the graph, compiles and saves each part.
_BACKEND = "vllm_backend"

TRACE = TraceVocabulary(
    parsers={
        "artifact:vllm_compilation_config": _model_compile_start,
        "artifact:vllm_piecewise_compile_start": _piecewise_compile_start,
    },
    backend_span=_BACKEND,
    stages={_BACKEND: "vLLM's backend"},
    dump_prefix="vllm_",  # ``vllm_submod_0``
)
"""vLLM 0.26 to 0.33."""
