"""Whether a start loaded everything from the caches that it found, and if not, why it compiled."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, Field

from coldwarm.catalog.engine_issues import EngineIssue, engine_issues
from coldwarm.checks.run_context import context_of
from coldwarm.core.cache_keys import CacheEntry, ChangedFactor
from coldwarm.core.cache_use import CacheUse
from coldwarm.core.engine import TORCH
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.issue_reference import reference
from coldwarm.core.kernels import Compiler
from coldwarm.core.record import WHOLE_PROCESS, ProcessReport, StartKind, StartRecord
from coldwarm.core.stats import CompileStats
from coldwarm.diagnose.function_keys import FunctionKeys
from coldwarm.diagnose.kernels import advice_on
from coldwarm.diagnose.ranks import rank_findings
from coldwarm.engines.base import load_vocabulary
from coldwarm.measure.kernel_work import kernel_work, seconds_of
from coldwarm.measure.recompiled_kernels import Cause, Recompiled, compiled_kernels

_MOST_SHOWN = 5
_MOST_KERNELS = 3
_TRITONS_DEFAULT = (".triton", "cache")
"""The end of the path of Triton's cache if TRITON_CACHE_DIR is not set (triton/knobs.py). Inductor sets it when a graph
is compiled (torch/_inductor/runtime/triton_heuristics.py, `CachingAutotuner`)."""
_PLURALS = {
    "artifact saved": "artifacts saved",
    "artifact loaded": "artifacts loaded",
    "AOTAutograd miss": "AOTAutograd misses",
    "code generation": "code generations",
    "kernel compiled": "kernels compiled",
    "kernel loaded": "kernels loaded",
}


class Warmth(StrEnum):
    """How much of what a process needs was in the caches."""

    NOTHING = "compiles nothing"
    WARM = "warm"
    PARTLY = "partly warm"
    COLD = "cold"


class ProcessWarmth(BaseModel):
    """One process of a start."""

    pid: int | None
    role: str
    rank: int | None
    warmth: Warmth
    did: list[str]
    """What it compiled and loaded."""
    kv_cache_blocks: int | None = None
    """See `ProcessReport.kv_cache_blocks`."""


class Reason(BaseModel):
    """Why something was compiled."""

    what: str
    next: str | None = None
    """A possible fix."""


_NOTHING_FOUND = Reason(what="the cache had no entry of any start", next="fill it, or mount the folder that was filled")


class StartWarmth(BaseModel):
    """One start of a user's command in the user's own caches."""

    command: list[str]
    seconds: float
    """Wall time until it was ready."""
    warmth: Warmth
    """That of its least warm process."""
    processes: list[ProcessWarmth]
    reasons: list[Reason] = Field(default_factory=list)
    phases: dict[str, float] = Field(default_factory=dict)
    """Seconds by name, in order."""
    caches: list[CacheUse] = Field(default_factory=list)
    """The user's caches in which anything was found or written."""
    unobserved: list[str] = Field(default_factory=list)
    """What could not be observed, so that it may have compiled something."""
    is_unavoidable: bool = False
    """Whether no start can load what was compiled: kernels without a cache on disk, and functions that miss their cache
    because of a known issue of the engine."""


def warmth_of(
    record: StartRecord,
    before: Sequence[CacheEntry],
    after: Sequence[CacheEntry],
    failures: Sequence[str] = (),
    cache_problem: str | None = None,
    caches: Sequence[CacheUse] = (),
    functions: FunctionKeys | None = None,
) -> StartWarmth:
    """Return how warm a start was.

    Args:
        record: The start.
        before: The entries of the engine's cache when it began.
        after: The entries when it was ready.
        failures: Why processes could not be observed.
        caches: How it used the user's caches.
        cache_problem: Why the cache is of no use to a later start; None: no reason is known.
        functions: The keys of the functions that a program without an engine compiled; None: not known.
    """
    ranks = Counter(process.rank for process in record.processes)
    processes = [
        _process(process, _stats(record, process, ranks), record)
        for process in record.processes
        if not _is_unobserved(process)
    ]
    order = list(Warmth)
    worst = max((process.warmth for process in processes), key=order.index, default=Warmth.NOTHING)
    compiled = worst in (Warmth.PARTLY, Warmth.COLD)
    works = _kernels(record)
    known = _known_functions(record) if compiled else {}
    reasons = _reasons(record, before, after, works, functions, known) if compiled else []
    if reasons and cache_problem is not None:
        reasons.append(
            Reason(what=cache_problem, next="mount a folder that outlives the container, and can be written")
        )
    return StartWarmth(
        command=record.command,
        seconds=record.seconds,
        warmth=worst,
        processes=processes,
        reasons=reasons,
        # What a warm start did not write is not lost, whatever the file system.
        caches=[use if compiled or use.written != 0 else use.model_copy(update={"problem": None}) for use in caches],
        phases={phase.name: phase.seconds for phase in record.phases},
        # A process that failed to be observed may be one that has nothing to do with torch.
        unobserved=[*(() if processes else failures), *_unobserved(record)],
        is_unavoidable=compiled and _is_unavoidable(record, works, known),
    )


def new_entries(before: Sequence[CacheEntry], after: Sequence[CacheEntry]) -> list[CacheEntry]:
    """Return the entries that a start made."""
    known = {entry.folder for entry in before}
    return [entry for entry in after if entry.folder not in known]


def _is_unobserved(process: ProcessReport) -> bool:
    return WHOLE_PROCESS in process.failed_probes


def _unobserved(record: StartRecord) -> list[str]:
    found = []
    for process in record.processes:
        name = process.program.command if process.program is not None else process.role
        for probe, error in process.failed_probes.items():
            what = f"process {process.pid} ({name})" if probe == WHOLE_PROCESS else f"{probe} of process {process.pid}"
            found.append(f"{what}: {error}")
        if process.kernels is not None and process.kernels.dropped:
            found.append(f"{process.kernels.dropped} more events of kernels in process {process.pid}")
    return found


def _stats(record: StartRecord, process: ProcessReport, ranks: Counter[int | None]) -> CompileStats | None:
    """Return the statistics of one process; None: it compiles nothing.

    Args:
        record: The start.
        process: The process.
        ranks: How many processes have each rank; with data parallelism, several have the same one.
    """
    if process.rank is None:
        return None
    compile_stats = load_vocabulary(record.engine).compile_stats
    own = compile_stats(record.model_copy(update={"processes": [process]}))[process.rank]
    # A trace has the rank of its process, and no other mark.
    generations = compile_stats(record)[process.rank].code_generations if ranks[process.rank] == 1 else None
    return own.model_copy(update={"code_generations": generations})


def _process(process: ProcessReport, own: CompileStats | None, record: StartRecord) -> ProcessWarmth:
    # A process that only uses a kernel compiler has no rank.
    work = own.kernels if own is not None else kernel_work([process], record.steps)
    kernels_compiled = work.compiled if work is not None else 0
    kernels_loaded = sum(each.loaded for each in work.compilers) if work is not None else 0
    compiled = [_plural(kernels_compiled, "kernel compiled")] if kernels_compiled else []
    loaded = [_plural(kernels_loaded, "kernel loaded")] if kernels_loaded else []
    if own is not None:
        # Each is the same work, counted by the engine, by AOTAutograd and by Inductor.
        graphs = (
            (own.saved, "artifact saved"),
            (own.misses, "AOTAutograd miss"),
            (own.code_generations or 0, "code generation"),
        )
        compiled = [*(_plural(count, noun) for count, noun in graphs if count), *compiled]
        loaded = [*([_plural(own.loaded, "artifact loaded")] if own.loaded else []), *loaded]
    if compiled:
        warmth = Warmth.PARTLY if loaded else Warmth.COLD
    else:
        warmth = Warmth.WARM if loaded else Warmth.NOTHING
    return ProcessWarmth(
        pid=process.pid,
        role=process.role,
        rank=process.rank,
        warmth=warmth,
        did=[*compiled, *loaded],
        kv_cache_blocks=process.kv_cache_blocks,
    )


def _kernels(record: StartRecord) -> list[Recompiled]:
    """Return the kernels that the ranks of a start compiled, each once for each reason, the slowest first."""
    stats = load_vocabulary(record.engine).compile_stats(record)
    works = [each.kernels for each in stats.values() if each.kernels is not None]
    return compiled_kernels(event for work in works for event in work.events)


def _known_functions(record: StartRecord) -> dict[str, EngineIssue]:
    """Return the functions that missed AOTAutograd's cache because of a known issue of the engine, by name."""
    work = record.compiler_work
    found = {}
    for function in work.functions if work is not None else []:
        if not function.missed:
            continue
        finding = Finding(
            kind=FindingKind.COMPILED_OUTSIDE,
            start=StartKind.WARM,
            what=f"standalone torch.compile of {function.name} missed the AOTAutograd cache",
            where=function.name.partition("(")[2].rstrip(")"),
        )
        for issue in engine_issues():
            if issue.when.matches(context_of(record)) and issue.finding.matches(finding):
                found[function.name] = issue
    return found


def _is_unavoidable(record: StartRecord, kernels: Sequence[Recompiled], known: Mapping[str, EngineIssue]) -> bool:
    """Return whether all that a start compiled are kernels that are kept only in memory, and functions in `known`."""
    work = record.compiler_work
    if work is None or work.records == 0 or work.code_generations or not (kernels or known):
        return False
    if any(kernel.cause is not Cause.IN_MEMORY for kernel in kernels):
        return False
    # Of each process: with data parallelism, several have the same rank.
    ranks = Counter(process.rank for process in record.processes)
    stats = [own for process in record.processes if (own := _stats(record, process, ranks)) is not None]
    accounted = sum(len(each.missed) for each in work.functions if each.name in known)
    return not any(each.saved for each in stats) and accounted == sum(each.misses for each in stats)


def _of_kernels(record: StartRecord, kernels: Sequence[Recompiled]) -> list[Reason]:
    """Return a reason for all kernels of a compiler that were compiled for the same reason."""
    groups: dict[tuple[Compiler, str], list[Recompiled]] = {}
    for kernel in kernels:
        groups.setdefault((kernel.compiler, kernel.reason), []).append(kernel)
    found = []
    for (compiler, reason), group in groups.items():
        names = [f"`{kernel.kernel}`" for kernel in group[:_MOST_KERNELS]]
        more = f" and {len(group) - len(names)} more" if len(group) > len(names) else ""
        keys = sum(kernel.keys for kernel in group)
        seconds = seconds_of(event for kernel in group for event in kernel.events)
        amount = f"{keys} {'key' if keys == 1 else 'keys'}" + ("" if seconds is None else f", {seconds:.1f} s")
        found.append(
            Reason(
                what=f"{compiler} compiled {', '.join(names)}{more} ({amount}): {reason}",
                next=_keep(group) or advice_on(group[0], record),
            )
        )
    return found


def _keep(kernels: Sequence[Recompiled]) -> str | None:
    """Return which folder to keep so that a later start finds the kernels; None: they are not stored in one."""
    folders = {event.cache_folder for kernel in kernels for event in kernel.events}
    if any(kernel.cause is not Cause.NOT_STORED for kernel in kernels) or None in folders:
        return None
    paths = [Path(folder) for folder in folders if folder is not None]
    # Most compilers have a folder for each key.
    root = Path(os.path.commonpath(paths) if len(paths) > 1 else paths[0].parent)
    if kernels[0].compiler is Compiler.TRITON and root.parts[-2:] == _TRITONS_DEFAULT:
        return (
            "set TRITON_CACHE_DIR to a folder that outlives the container; unless it is set, a start that compiles "
            f"graphs stores Triton's kernels in Inductor's cache, and a start that loads graphs looks in {root}"
        )
    return f"keep {root} on a volume or in the image, if it does not outlive the container"


def _reasons(
    record: StartRecord,
    before: Sequence[CacheEntry],
    after: Sequence[CacheEntry],
    kernels: Sequence[Recompiled],
    keys_of_functions: FunctionKeys | None,
    known: Mapping[str, EngineIssue],
) -> list[Reason]:
    engine = load_vocabulary(record.engine)
    reasons = [
        Reason(what=f"{failure.path} was found and could not be loaded: {failure.headline()}")
        for failure in engine.load_failures(record.messages)
    ]
    made = new_entries(before, after)
    for entry in made[:1]:
        reasons += _compared(record, entry, before)
    if record.engine != TORCH:  # the ranks of a script may do different things
        keys = {each.rank: each.cache_keys for each in record.processes if each.rank is not None and each.cache_keys}
        reasons += [Reason(what=each.what, next=each.next) for each in rank_findings(record, keys)[:_MOST_SHOWN]]
    work = record.compiler_work
    given = work.functions if work is not None else []
    functions = [each for each in given if each.missed or each.bypassed]
    found_nothing = keys_of_functions is not None and keys_of_functions.found_nothing
    # What was loaded was in another folder, which the program chose itself.
    if functions and found_nothing and not any(each.loaded for each in given):
        reasons.append(_NOTHING_FOUND)
    for function in functions[:_MOST_SHOWN]:
        seconds = "" if function.seconds is None else f", {function.seconds:.1f} s"
        how = "missed the AOTAutograd cache" if function.missed else "has no key, so that it cannot be cached"
        why = keys_of_functions.why_missed(function.name) if keys_of_functions is not None else None
        if (issue := known.get(function.name)) is not None:
            why = f"known issue {issue.id} ({reference(issue)})"
        reasons.append(Reason(what=f"torch.compile of {function.name} {how}{seconds}{f': {why}' if why else ''}"))
    if len(functions) > _MOST_SHOWN:
        reasons.append(Reason(what=f"and torch.compile of {len(functions) - _MOST_SHOWN} more functions"))
    reasons += _of_kernels(record, kernels)
    if not reasons and (switch := engine.cache_switch(record.environment)) is not None:
        reasons.append(Reason(what=f"{switch} switches the cache off", next="unset it"))
    return reasons


def _compared(record: StartRecord, entry: CacheEntry, before: Sequence[CacheEntry]) -> list[Reason]:
    """Return how the key of an entry that was made differs from that of the nearest entry that was there."""
    engine = load_vocabulary(record.engine)
    if not before:
        return [_NOTHING_FOUND]
    nearest, changes = min(
        ((each, each.differences(entry)) for each in before), key=lambda found: (len(found[1]), -found[0].modified)
    )
    if not changes:
        return [Reason(what=f"{nearest.folder} has the same key, as far as it is recorded, and was not used")]
    reasons = []
    for change in changes[:_MOST_SHOWN]:
        what, advice = engine.describe_key_change(change)
        reasons.append(Reason(what=f"{what}: {_values(change)}", next=advice))
    if len(changes) > _MOST_SHOWN:
        reasons.append(Reason(what=f"and {len(changes) - _MOST_SHOWN} more components of the key differ"))
    reasons[0].what += f" (compared with the nearest entry, {nearest.folder})"
    return reasons


def _values(change: ChangedFactor) -> str:
    before, now = ("nothing" if value is None else value or "(empty)" for value in (change.cold, change.warm))
    return f"{before} in the cache, {now} now"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun if n == 1 else _PLURALS[noun]}"
