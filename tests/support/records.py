"""Factories of records of healthy starts; keyword arguments override fields.

Each process of the fake engine imports this module; imports inside the functions halve the time that it takes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldwarm.core.cache_files import CacheContent
from coldwarm.core.compiler_work import CompilerWork
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.kernels import Compiler, KernelEvent, KernelEvents, KernelOutcome, KernelSource
from coldwarm.core.record import (
    EngineFacts,
    Failure,
    GeneratedToken,
    LayerKind,
    Outcome,
    ProcessReport,
    StartKind,
    StartRecord,
)

if TYPE_CHECKING:
    from coldwarm.catalog.catalog import CatalogModel
    from coldwarm.core.model_entry import Expectation, KnownIssue, ModelEntry

SAVED = "vllm.num_compiled_artifacts_saved"
SEEN = "vllm.num_piecewise_capturable_graphs_seen"
LOADED = "vllm.num_compiled_artifacts_loaded"
MISSES = "torch.aot_autograd.autograd_cache_miss"

NO_CACHE = "cute.compile has no cache on disk"
"""Why the kernel of `kernel_event` is not cached."""
KERNELS_BEGAN = 1795435300.0
"""When the kernels of `kernel_event` began to be compiled, in seconds since the epoch."""

VERSIONS = {"torch": "2.13.0+cpu", "vllm": "0.32.0", "python": "3.11.9"}

COLD_COUNTERS = {SAVED: 3, LOADED: 0, MISSES: 4}
WARM_COUNTERS = {SAVED: 0, LOADED: 3, MISSES: 0}


def generated_tokens(count: int = 8) -> list[GeneratedToken]:
    """Return tokens 100, 101, …, each with three log-probabilities, its own being the largest."""
    return [
        GeneratedToken(token_id=100 + step, logprobs={100 + step: -0.25, 7: -1.5, 8: -2.5}) for step in range(count)
    ]


def cold_facts(*, counters: dict[str, int] | None = None, **fields: Any) -> EngineFacts:
    """Return the engine's facts on a healthy cold start; `counters` override its own.

    Fields of `ProcessReport` are those of its only rank, unless `processes` are given.
    """
    return _facts(COLD_COUNTERS, counters, fields)


def warm_facts(*, counters: dict[str, int] | None = None, **fields: Any) -> EngineFacts:
    """Return the engine's facts on a healthy warm start; `counters` override its own."""
    return _facts(WARM_COUNTERS, counters, fields)


def compiler_work(**fields: Any) -> CompilerWork:
    """Return the compiler work of a complete trace without code generation."""
    values: dict[str, Any] = {
        "files": 1,
        "records": 40,
        "garbled_lines": 0,
        "code_generations": 0,
        "subgraphs_compiled": 0,
        "subgraphs_unique": 0,
    }
    return CompilerWork(**{**values, **fields})


def cold_record(*, counters: dict[str, int] | None = None, **fields: Any) -> StartRecord:
    """Return a healthy cold start: 3 artifacts saved, none loaded; `counters` override its own."""
    return _record(
        StartKind.COLD,
        {
            "facts": cold_facts(counters=counters),
            "compiler_work": compiler_work(code_generations=4, subgraphs_compiled=9, subgraphs_unique=3),
            "caches_before": {},
            "caches_after": {"vllm": CacheContent(files=12, bytes=4096)},
        },
        fields,
    )


def warm_record(*, counters: dict[str, int] | None = None, **fields: Any) -> StartRecord:
    """Return a healthy warm start: nothing saved, 3 artifacts loaded, no code generated."""
    return _record(
        StartKind.WARM,
        {
            "facts": warm_facts(counters=counters),
            "compiler_work": compiler_work(),
            "caches_before": {"vllm": CacheContent(files=12, bytes=4096)},
            "caches_after": {"vllm": CacheContent(files=12, bytes=4096)},
        },
        fields,
    )


def unfinished_record(
    kind: StartKind = StartKind.COLD, outcome: Outcome = Outcome.CRASHED, **fields: Any
) -> StartRecord:
    """Return a start that did not finish: no facts, no compiler work, and a failure."""
    values = {
        "outcome": outcome,
        "facts": None,
        "compiler_work": None,
        "failure": Failure(what="ValueError: no such thing", phase="weights", exception="ValueError"),
    }
    make = cold_record if kind is StartKind.COLD else warm_record
    return make(**{**values, **fields})


def sparse_attention_on_cpu() -> Failure:
    """Return the failure of a start that needs an attention which vLLM does not have on a CPU."""
    what = "NotImplementedError: Sparse Attention is not supported on CPU."
    return Failure(
        what=what,
        phase="weights",
        exception="NotImplementedError",
        traceback=f'  File "/site-packages/vllm/platforms/cpu.py", line 150, in f\n    raise NotImplemented\n{what}\n',
    )


def model_entry(**fields: Any) -> ModelEntry:
    """Return a dense model's entry, with no expectations; `fields` may be plain data, as in TOML."""
    from coldwarm.core.model_entry import ModelEntry

    values: dict[str, Any] = {
        "id": "tiny",
        "name": "Tiny",
        "config": "../configs/tiny.json",
        "source": "https://example.org/tiny/config.json",
        "layer_kinds": ("dense",),
    }
    return ModelEntry.model_validate({**values, **fields})


def expectation(**fields: Any) -> Expectation:
    """Return an expectation that healthy records meet."""
    from coldwarm.core.model_entry import Expectation

    values: dict[str, Any] = {
        "when": {"device": "cpu", "compilation": "piecewise", "torch": "~=2.13.0", "vllm": "~=0.32.0"},
        "measured": "2026-11-23",
        "cold": dict(COLD_COUNTERS),
        "warm": dict(WARM_COUNTERS),
    }
    return Expectation.model_validate({**values, **fields})


def known_issue(**fields: Any) -> KnownIssue:
    """Return a known issue of a cold start with 4 artifacts, where one layer kind allows 3."""
    from coldwarm.core.model_entry import KnownIssue

    values: dict[str, Any] = {
        "id": "one-too-many",
        "title": "one unique subgraph too many",
        "link": "https://example.org/issues/1",
        "when": {"device": "cpu"},
        "breaks": "cold-only-unique",
        "cold": {SAVED: 4},
    }
    return KnownIssue.model_validate({**values, **fields})


def tiny_config(**keys: Any) -> dict[str, Any]:
    """Return a published config that is already small enough."""
    return {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 64, **keys}


def catalog_model(
    entry: ModelEntry | None = None, config: dict[str, Any] | None = None, *, path: Path = Path("models/tiny.toml")
) -> CatalogModel:
    """Return a model of the catalog without files."""
    from coldwarm.catalog.catalog import CatalogModel

    return CatalogModel(
        entry=entry or model_entry(),
        config=tiny_config() if config is None else config,
        path=path,
        config_path=path.with_suffix(".json"),
    )


_OF_PROCESS = frozenset(ProcessReport.model_fields)


def _facts(own: dict[str, int], counters: dict[str, int] | None, fields: dict[str, Any]) -> EngineFacts:
    seen: dict[str, Any] = {
        "pid": 100,
        "rank": 0,
        "counters": {**own, **(counters or {})},
        "layer_kinds": [LayerKind(layer_class="LlamaDecoderLayer", layers=8, parameters=6)],
        **{name: value for name, value in fields.items() if name in _OF_PROCESS},
    }
    values: dict[str, Any] = {
        "versions": dict(VERSIONS),
        "hardware": {"machine": "x86_64", "cores": "2"},
        "prompt_token_ids": [1, 2, 3, 4],
        "generated": generated_tokens(),
        **{name: value for name, value in fields.items() if name not in {*_OF_PROCESS, "processes"}},
    }
    return EngineFacts(**values).of_processes(fields.get("processes") or [ProcessReport(**seen)])


def _record(kind: StartKind, own: dict[str, Any], fields: dict[str, Any]) -> StartRecord:
    """Return a record; observations are put into the report of the first process, unless `processes` are given."""
    fields = {**own, **fields}
    seen = {name: fields.pop(name) for name in _OF_PROCESS & fields.keys()}
    facts = fields.get("facts")
    processes = list(facts.processes) if facts else []
    if seen:
        first, *others = processes or [ProcessReport(pid=100)]
        processes = [first.model_copy(update=seen), *others]
    values: dict[str, Any] = {
        "kind": kind,
        "outcome": Outcome.FINISHED,
        "began": datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
        "seconds": 12.5,
        "isolation": IsolationKind.FORK,
        "engine": "vllm",
        "device": "cpu",
        "compilation": "piecewise",
        "environment": {},
        "overridden": [],
        "caches_as_left": True,
    }
    return StartRecord(**{**values, "processes": processes, **fields})


def kernel_event(number: int = 0, **fields: Any) -> KernelEvent:
    """Return the event of a CuTe DSL kernel that was compiled in half a second, kept only in memory.

    Args:
        number: Makes the key and the time of several events different.
        fields: Fields that override its own.
    """
    values: dict[str, Any] = {
        "compiler": Compiler.CUTE_DSL,
        "kernel": "LLFp32WGemm",
        "key": f"key {number}",
        "outcome": KernelOutcome.COMPILED,
        "source": KernelSource.WRAPPED,
        "begin": KERNELS_BEGAN + number,
        "seconds": 0.5,
        "where": "vllm/model_executor/layers/fused_moe/gate_linear.py:214",
        "phase": "JIT warm-up",
        "why_not_cached": NO_CACHE,
    }
    return KernelEvent(**{**values, **fields})


def cached_kernel(number: int = 0, **fields: Any) -> KernelEvent:
    """Return the event of a Triton kernel that was compiled and is cached on disk."""
    values: dict[str, Any] = {
        "compiler": Compiler.TRITON,
        "kernel": "_rope_kernel",
        "source": KernelSource.HOOK,
        "where": "vllm/rope.py:7",
        "cache_folder": "/cache/triton",
        "why_not_cached": None,
        "components": {"signature": "*fp32, i32", "constants": "BLOCK=64", "options": "num_warps=4"},
    }
    return kernel_event(number, **{**values, **fields})


def kernel_events(*events: KernelEvent, **fields: Any) -> KernelEvents:
    """Return what the probes of kernel compilers saw in a process."""
    return KernelEvents(events=list(events), **fields)
