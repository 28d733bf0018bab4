"""Inputs of explanations: cache keys, load failures, cache lookups, and traces on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.phases import Phase
from coldwarm.core.record import Message, StartKind, StartRecord
from coldwarm.diagnose.misses import KnownOfRun
from coldwarm.measure.frame_caches import Frame
from coldwarm.trace.kinds import CacheEvent, Location
from tests.support.records import LOADED, MISSES, SAVED, compiler_work, warm_record

ARTIFACT = "vllm/torch_compile_cache/torch_aot_compile/2ccc/rank_0_0/model"
SOURCE_CHANGED = "Source code has changed since the last compilation. Recompiling the model."
STAGES = [
    Phase(name="import", seconds=7.0),
    Phase(name="Dynamo", seconds=3.0),
    Phase(name="C++/Triton compilation", seconds=10.5),
    Phase(name="cache load", seconds=1.0),
]
"""Of these, 13.5 s are compile time."""

BEGAN = 1795435200.0
"""When the records of `tests.support.records` began, in seconds since the epoch."""

# A record of a trace: its metadata, its payload, its thread.
Written = tuple[dict[str, Any], str | None, int]


def keys(**groups: dict[str, str]) -> CacheKeys:
    """Return recorded key components; `groups`, with dots as two underscores, override those of every start."""
    factors = {
        "vllm": {"version": "0.32.0"},
        "environment": {"VLLM_USE_V1": "True"},
        "config.additional_config": {},
        **{name.replace("__", "."): group for name, group in groups.items()},
    }
    return CacheKeys(factors=factors)


def evidences(cold: CacheKeys | None = None, warm: CacheKeys | None = None, **fields: Any) -> KnownOfRun:
    """Return evidence in addition to the records; by default, both starts have the same keys."""
    values: dict[str, Any] = {
        "cold_keys": cold or keys(),
        "warm_keys": warm or keys(),
        "cold_frames": [],
        "warm_frames": [],
    }
    return KnownOfRun(**{**values, **fields})


def compiled_again(**fields: Any) -> StartRecord:
    """Return a warm start that recompiled everything: 3 artifacts saved, 4 misses, none loaded."""
    counters = {SAVED: 3, LOADED: 0, MISSES: 4, **fields.pop("counters", {})}
    values = {
        "compiler_work": compiler_work(code_generations=4, subgraphs_compiled=9),
        "phases": STAGES,
        "seconds": sum(stage.seconds for stage in STAGES),
    }
    return warm_record(counters=counters, **{**values, **fields})


def load_failure(reason: str, path: str = f"/tmp/c/tiny/caches/{ARTIFACT}", tag: str = "[backbone] ") -> Message:
    """Return vLLM's warning that it failed to load a saved artifact."""
    text = f"{tag}Compiling model again due to a load failure from {path}, reason: {reason}"
    return Message(logger="vllm.compilation.decorators", level="WARNING", text=text)


def finding(**fields: Any) -> Finding:
    """Return a finding with all fields set."""
    values: dict[str, Any] = {
        "kind": FindingKind.KEY_CHANGED,
        "start": StartKind.WARM,
        "what": "the key is another one",
        "where": "model.py:7",
        "code": "x = y",
        "details": ["seed: 0 -> 1"],
        "evidence": [{"file": "warm.keys.json", "record": "config.model: seed = 1"}],
        "seconds": 18.94,
        "next": "keep it",
    }
    return Finding.model_validate({**values, **fields})


def moe_finding(extra_artifacts: int = 1, **fields: Any) -> Finding:
    """Return the finding about the first MoE layer with vLLM 0.32 on a CPU: one additional artifact."""
    values: dict[str, Any] = {
        "kind": FindingKind.NOT_SHARED,
        "start": StartKind.COLD,
        "what": "7 subgraphs (MoE layer) compiled to 2 artifacts instead of 1: "
        "`math_prod((s72, 256)) -> Sym(256*s72)` is computed in submod_2 and passed to submod_4 as an input",
        "where": "site-packages/vllm/model_executor/layers/fused_moe/modular_kernel.py:1122",
        "code": "max_shape_size = max(prod(workspace13_shape), prod(fused_out_shape))",
        "extra_artifacts": extra_artifacts,
    }
    return Finding.model_validate({**values, **fields})


def launch_finding(extra_artifacts: int, **fields: Any) -> Finding:
    """Return a finding about layers that launch a Triton kernel in their graph, as on a GPU with vLLM 0.26 or 0.33."""
    numbers = [f"{{}}_idx={2 + number}" for number in range(extra_artifacts + 1)]
    places = [f"{number} in submod_{4 * place}" for place, number in enumerate(numbers, 1)]
    kernels, constants = (", ".join(places).replace("{}", each) for each in ("kernel", "constant_args"))
    baked = "a constant that differs is baked into the graph"
    values: dict[str, Any] = {
        "kind": FindingKind.NOT_SHARED,
        "start": StartKind.COLD,
        "what": f"{len(places)} subgraphs (dense layer) compiled to {len(places)} artifacts instead of 1: {baked}: "
        + kernels,
        "where": "vllm/model_executor/layers/sparse_attn_indexer.py:228",
        "code": "_fused_indexer_q_rope_quant_kernel[(q.shape[0], q.shape[1])](",
        "details": [f"{baked}: {constants}"],
        "extra_artifacts": extra_artifacts,
    }
    return Finding.model_validate({**values, **fields})


def location(line: int = 1, compile_id: tuple[object, object] = (1, 0), file: str = "rank_0.log") -> Location:
    """Return the location of a record."""
    return Location(file, line, 0.0, 1, compile_id)


def cache_event(
    outcome: str = "miss",
    key: str | None = "k1",
    *,
    layer: str = "AOTAutograd",
    at: Location | None = None,
    **fields: Any,
) -> CacheEvent:
    """Return a lookup in a compiler's cache."""
    values: dict[str, Any] = {"components": [], "reason": None}
    return CacheEvent(at or location(), layer, outcome, key, **{**values, **fields})


def frame(
    *events: CacheEvent,
    function: str | None = "sample",
    source: str | None = "sampler.py:10",
    seconds: float | None = None,
) -> Frame:
    """Return one compilation of one function."""
    return Frame(list(events), function, source, seconds)


def span(
    name: str, edge: str, seconds: float, *, thread: int = 1, frame_id: int | None = None, **facts: Any
) -> Written:
    """Return the edge of a span, in seconds after the begin of the start; `frame_id` None: outside of frames."""
    event = {"name": name, "ph": edge, "ts": (BEGAN + seconds) * 1e6, "args": facts, "pid": 0, "tid": 0}
    return _in_frame({"chromium_event": {}}, frame_id), json.dumps(event), thread


def asked(
    outcome: str, key: str | None = "k1", *, layer: str = "aotautograd", frame_id: int | None = 1, **content: Any
) -> Written:
    """Return a lookup in a compiler's cache in a frame, or with None outside of frames."""
    metadata: dict[str, Any] = {"artifact": {"name": f"{layer}_cache_{outcome}", "encoding": "json"}}
    return _in_frame(metadata, frame_id), json.dumps({"key": key, **content}), 1


def compiled(function: str, source: str = "sampler.py", line: int = 10, *, frame_id: int | None = 1) -> Written:
    """Return Dynamo's metrics of a finished frame."""
    metrics = {"co_name": function, "co_filename": source, "co_firstlineno": line, "fail_reason": None}
    return _in_frame({"compilation_metrics": metrics}, frame_id), None, 1


def piecewise_start(index: int = 0, *, frame_id: int | None = None) -> Written:
    """Return the record of vLLM passing a subgraph to the compiler."""
    content = {
        "piecewise_index": index,
        "submod_name": f"submod_{2 * index}",
        "total_piecewise_compiles": 3,
        "compile_range_start": 1,
        "compile_range_end": 64,
    }
    return (
        _in_frame({"artifact": {"name": "vllm_piecewise_compile_start", "encoding": "json"}}, frame_id),
        json.dumps(content),
        1,
    )


def write_trace(folder: Path, *records: Written, name: str = "dedicated_log_torch_trace_rank_0_x.log") -> Path:
    """Write a trace file as PyTorch does, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for metadata, payload, thread in records:
        lines.append(f"V1123 12:00:00.123456 {thread} torch/a.py:1] {json.dumps(metadata)}")
        if payload is not None:
            lines += [f"\t{line}" for line in payload.split("\n")]
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_keys(folder: Path, cold: CacheKeys, warm: CacheKeys) -> None:
    """Write the keys of both starts to the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, recorded in ((StartKind.COLD, cold), (StartKind.WARM, warm)):
        (folder / f"{kind}.keys.json").write_text(recorded.model_dump_json())


def _in_frame(metadata: dict[str, Any], frame_id: int | None) -> dict[str, Any]:
    return metadata if frame_id is None else {**metadata, "frame_id": frame_id, "frame_compile_id": 0, "attempt": 0}
