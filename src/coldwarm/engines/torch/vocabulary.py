"""The meaning of the records of programs that use torch.compile without an engine.

What the program compiles is a set of functions. An artifact is what PyTorch's AOTAutograd cache has under one key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.compiler_work import CompiledFunction
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import EngineFacts, StartRecord
from coldwarm.core.stats import CompileStats
from coldwarm.engines.torch.cache_folder import cache_folder
from coldwarm.engines.vocabulary import CacheFolders, Vocabulary
from coldwarm.measure.kernel_work import kernel_work_of_rank
from coldwarm.trace.vocabulary import PYTORCH_ONLY

_TOTAL = "torch.aot_autograd.total"
_SAVED = "torch.aot_autograd.autograd_cache_saved"
_HITS = "torch.aot_autograd.autograd_cache_hit"
_MISSES = "torch.aot_autograd.autograd_cache_miss"
# torch/_functorch/config.py, torch/_inductor/config.py
_SWITCHES = {"TORCHINDUCTOR_AUTOGRAD_CACHE": "0", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
_KEYED = re.compile(r"(TORCH|PYTORCH|TRITON|INDUCTOR|AOT)[A-Z0-9]*_")


def compile_stats(record: StartRecord) -> dict[int, CompileStats]:
    """Return the statistics of each rank of a start, by rank, in order; empty if the start did not finish."""
    if record.facts is None:
        return {}
    ranks = sorted({each.rank for each in record.facts.processes if each.rank is not None}) or [0]
    return {rank: _of_rank(record, rank, is_only=len(ranks) == 1) for rank in ranks}


def _of_rank(record: StartRecord, rank: int, *, is_only: bool) -> CompileStats:
    work = record.compiler_work
    functions = [each for each in work.functions if each.rank == rank] if work else []
    missed, loaded = _keys(functions, "missed"), _keys(functions, "loaded")
    generations = None
    if work is not None and work.records > 0:
        generations = work.code_generations if is_only else work.code_generations_by_rank.get(rank, 0)
    return CompileStats(
        rank=rank,
        subgraphs=_count(record, rank, _TOTAL),
        unique=len(missed) + sum(each.bypassed for each in functions) if work else None,
        saved=_count(record, rank, _SAVED),
        # What a start finds because it has just saved it itself does not count: two functions may be the same.
        loaded=len(loaded - missed),
        misses=_count(record, rank, _MISSES),
        code_generations=generations,
        compile_ranges=1,
        unreadable_lines=work.garbled_lines if work else 0,
        kernels=kernel_work_of_rank(record, rank),
    )


def _keys(functions: Sequence[CompiledFunction], which: str) -> set[str]:
    return {key for function in functions for key in getattr(function, which)}


def _count(record: StartRecord, rank: int, name: str) -> int:
    """Return the sum of a counter over all processes of a rank; one that this version does not have counts as 0."""
    return sum(process.counters.get(name, 0) for process in record.processes if process.rank == rank)


def _cache_switch(environment: Mapping[str, str]) -> str | None:
    return next((f"{name}={value}" for name, value in _SWITCHES.items() if environment.get(name) == value), None)


@dataclass(frozen=True)
class _NoLookups:
    """A program without an engine has no caches but PyTorch's."""

    nothing_saved: bool
    missed: bool = False
    compiled: bool = False

    def can_explain(self, group: str) -> bool:
        return False


def _lookups(cold: EngineFacts, warm: EngineFacts, failures: Sequence[LoadFailure]) -> _NoLookups:
    return _NoLookups(nothing_saved=not any(each.counters.get(_SAVED) for each in cold.processes))


def _describe(factor: ChangedFactor) -> tuple[str, str]:
    return f"{factor.name} of the {factor.group} changed", "start with the same setting each time"


def _keyed_in(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if _KEYED.match(name)}


VOCABULARY = Vocabulary(
    title="torch.compile",
    package="torch",
    prefix="TORCH",
    subgraphs=_TOTAL,
    saved=_SAVED,
    loaded=_HITS,
    misses=_MISSES,
    saved_counters=(_SAVED,),
    expected_counters={},
    trace=PYTORCH_ONLY,
    caches=CacheFolders({}, {}, frozenset(), frozenset(), "torch", (), ()),
    key_order=(),
    function_file="",
    loading={},
    compiling=frozenset(),
    key_folder=re.compile(r"inductor/[^/]+(?=/)"),
    load_failure_advice="report it to PyTorch",
    more_logs="set TORCH_LOGS=+torch._functorch._aot_autograd.autograd_cache to make PyTorch log its lookups",
    install_newest={},
    compilation_paths=(),
    # Nothing limits how many functions a program may compile.
    without=frozenset({InvariantId.ONLY_UNIQUE}),
    compile_stats=compile_stats,
    counters_of_trace=lambda record: {},
    cache_layers=lambda record, asked: {},
    cache_switch=_cache_switch,
    load_messages=lambda messages: [],
    load_failures=lambda messages: [],
    crash_cause=lambda record: None,
    lookups=_lookups,
    cache_folder=cache_folder,
    entries=lambda environment: [],
    remember=lambda entry, keys: None,
    describe_key_change=_describe,
    differs_by_rank=(),
    compiled_on_request=(),
    kernel_advice=lambda event: None,
    settings_in=_keyed_in,
    keyed_in=_keyed_in,
    keep_plugins=lambda environment: {},
)
