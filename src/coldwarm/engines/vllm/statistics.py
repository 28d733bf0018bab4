"""Compile statistics of a start with vLLM, from its counters, PyTorch's and the trace, for each rank."""

from __future__ import annotations

from collections.abc import Mapping

from coldwarm.core.record import ProcessReport, StartRecord
from coldwarm.core.stats import CompileStats, LayerCounts
from coldwarm.measure.kernel_work import kernel_work_of_rank

# vllm/compilation/counter.py, `CompilationCounter`
SAVED = "vllm.num_compiled_artifacts_saved"
LOADED = "vllm.num_compiled_artifacts_loaded"
SUBGRAPHS = "vllm.num_piecewise_capturable_graphs_seen"
AOT_SAVED = "vllm.num_aot_artifacts_saved"
AOT_LOADED = "vllm.num_aot_artifacts_loaded"
AOT_COMPILES = "vllm.num_aot_compiles"
INDUCTOR_COMPILES = "vllm.num_inductor_compiles"
# torch/_functorch/_aot_autograd/autograd_cache.py
MISSES = "torch.aot_autograd.autograd_cache_miss"

# vllm/envs.py: switches off vLLM's own caches, but not PyTorch's.
_DISABLES_CACHE = "VLLM_DISABLE_COMPILE_CACHE"


def compile_stats(record: StartRecord) -> dict[int, CompileStats]:
    """Return the statistics of each rank of a start, by rank, in order; empty if the start did not finish.

    A counter that these versions do not have counts as 0; expectations detect a renamed one.
    """
    facts = record.facts
    if facts is None:
        return {}
    if not facts.processes:
        return {0: _of_rank(record, 0, ProcessReport(), is_only=True)}
    only = len(facts.processes) == 1
    return {
        each.rank: _of_rank(record, each.rank, each, is_only=only) for each in facts.processes if each.rank is not None
    }


def counters_of_trace(record: StartRecord) -> dict[str, int]:
    """Return the counters that follow from a trace: one artifact would be saved for each unique subgraph."""
    assert record.facts is not None, "only finished starts have counters"
    seen = {SUBGRAPHS: record.facts.counters.get(SUBGRAPHS, 0)}
    return seen if record.compiler_work is None else {**seen, SAVED: record.compiler_work.subgraphs_unique}


def cache_layers(record: StartRecord, asked: int) -> dict[str, LayerCounts]:
    """Return the counts of vLLM's own cache layers in a finished start, by name, the outermost first.

    Args:
        record: The start.
        asked: How many artifacts vLLM did not have, so that it asked the compiler's cache, by the trace.
    """
    assert record.facts is not None, "only finished starts have counters"
    counters = record.facts.counters
    is_off = cache_switch(record.environment) is not None
    return {
        "vLLM, whole function": LayerCounts(
            hits=counters.get(AOT_LOADED),
            misses=counters.get(AOT_COMPILES),
            saved=counters.get(AOT_SAVED),
            is_off=is_off,
        ),
        "vLLM, artifacts": LayerCounts(
            hits=counters.get(LOADED),
            misses=_artifacts_missed(counters, asked),
            saved=counters.get(SAVED),
            is_off=is_off,
        ),
    }


def cache_switch(environment: Mapping[str, str]) -> str | None:
    """Return the assignment in a recorded `environment` that switches vLLM's own caches off; None if they are on."""
    value = environment.get(_DISABLES_CACHE, "0")
    return None if value in ("", "0") else f"{_DISABLES_CACHE}={value}"


def _artifacts_missed(counters: Mapping[str, int], asked: int) -> int | None:
    """Return how many artifacts vLLM did not have; None if that is not known.

    None of vLLM's counters shows it (vllm/compilation/counter.py): artifacts that were not found are saved only if the
    cache is on, and ``num_inductor_compiles`` also counts the subgraphs that share an artifact. The trace shows the
    keys for which vLLM asked the compiler's cache.
    """
    saved, loaded, compiles = counters.get(SAVED), counters.get(LOADED), counters.get(INDUCTOR_COMPILES)
    if asked or saved:
        return max(asked, saved or 0)
    return 0 if loaded or compiles == 0 else None


def _of_rank(record: StartRecord, rank: int, process: ProcessReport, *, is_only: bool) -> CompileStats:
    work, counters = record.compiler_work, process.counters
    # Records of one rank may have no counts by rank, and need none.
    traced = work is not None and work.records > 0 and (is_only or rank in work.traced_ranks)
    generations = unique = None
    if work is not None and traced:
        generations = work.code_generations if is_only else work.code_generations_by_rank.get(rank, 0)
        unique = work.subgraphs_unique
    return CompileStats(
        rank=rank,
        subgraphs=counters.get(SUBGRAPHS, 0),
        unique=unique,
        saved=counters.get(SAVED, 0),
        loaded=counters.get(LOADED, 0),
        misses=counters.get(MISSES, 0),
        code_generations=generations,
        compile_ranges=work.compile_ranges if work else 1,
        unreadable_lines=work.garbled_lines if work else 0,
        torch_compile=_why_not_compiled(process),
        kernels=kernel_work_of_rank(record, rank),
    )


def _why_not_compiled(process: ProcessReport) -> str | None:
    """Return why vLLM compiled no model with torch.compile, unless its counters show that it did."""
    used = any(process.counters.get(name) for name in (SUBGRAPHS, SAVED, LOADED))
    return None if used else process.torch_compile
