"""Compile statistics of a start with vLLM: what its counters, PyTorch's and the trace say, rank by rank."""

from __future__ import annotations

from collections.abc import Mapping

from coldwarm.core.record import StartRecord
from coldwarm.core.stats import CompileStats

# vllm/compilation/counter.py, `CompilationCounter`
SAVED = "vllm.num_compiled_artifacts_saved"
LOADED = "vllm.num_compiled_artifacts_loaded"
SUBGRAPHS = "vllm.num_piecewise_capturable_graphs_seen"
# torch/_functorch/_aot_autograd/autograd_cache.py
MISSES = "torch.aot_autograd.autograd_cache_miss"


def compile_stats(record: StartRecord) -> dict[int, CompileStats]:
    """Return the statistics of each rank of a start, by rank, in order; empty if the start did not finish.

    A counter that these versions do not have has counted nothing; expectations catch a renamed one.
    """
    facts = record.facts
    if facts is None:
        return {}
    if not facts.processes:
        return {0: _of_rank(record, 0, facts.counters, is_only=True)}
    only = len(facts.processes) == 1
    return {
        each.rank: _of_rank(record, each.rank, each.counters, is_only=only)
        for each in facts.processes
        if each.rank is not None
    }


def counters_of_trace(record: StartRecord) -> dict[str, int]:
    """Return the counters that a trace shows: as many artifacts would be saved as there are unique subgraphs."""
    assert record.facts is not None, "only finished starts have counters"
    seen = {SUBGRAPHS: record.facts.counters.get(SUBGRAPHS, 0)}
    return seen if record.compiler_work is None else {**seen, SAVED: record.compiler_work.subgraphs_unique}


def _of_rank(record: StartRecord, rank: int, counters: Mapping[str, int], *, is_only: bool) -> CompileStats:
    work = record.compiler_work
    # Records of one rank have no counts by rank, or need none.
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
    )
