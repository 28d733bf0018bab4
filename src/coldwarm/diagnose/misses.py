"""Explains why a warm start compiled: what was missing, could not be loaded, or had a different key."""

from __future__ import annotations

from dataclasses import dataclass

from coldwarm.core.cache_keys import CacheKeys, ChangedFactor, changed_factors
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import log_name, record_name
from coldwarm.core.stats import CompileStats
from coldwarm.diagnose.costs import charge_together, seconds_of_engine
from coldwarm.diagnose.crash_on_load import crash_on_load_findings
from coldwarm.diagnose.damaged_files import damage_finding
from coldwarm.diagnose.key_changes import key_findings
from coldwarm.diagnose.load_failures import load_failure_finding
from coldwarm.diagnose.nested_compiles import frames_by_cause, moved_details, outside_findings
from coldwarm.engines.base import load_vocabulary
from coldwarm.engines.vocabulary import Lookups, Vocabulary
from coldwarm.measure.frame_caches import Frame

_MOST_FILES = 5


@dataclass(frozen=True)
class KnownOfRun:
    """What is known about a run in addition to its records."""

    cold_keys: CacheKeys | None
    """None: not recorded."""
    warm_keys: CacheKeys | None
    cold_frames: list[Frame]
    warm_frames: list[Frame]

    def changed_factors(self) -> list[ChangedFactor]:
        """Return the components of the keys that differ, as far as they were recorded."""
        if self.cold_keys is None or self.warm_keys is None:
            return []
        return changed_factors(self.cold_keys, self.warm_keys)


def miss_findings(cold: StartRecord, warm: StartRecord, known: KnownOfRun) -> list[Finding]:
    """Explain everything that the warm start compiled; empty if it compiled nothing and its caches were complete.

    What the engine itself recompiled is one recompilation, and the first finding on it is charged its cost; a nested or
    standalone torch.compile that missed has its own finding and cost.
    """
    engine = load_vocabulary(warm.engine)
    failures = engine.load_failures(warm.messages)
    changed = known.changed_factors()
    if cold.facts is None or warm.facts is None:
        # A start did not finish: what was compiled is not known, but what it loaded may explain how it ended.
        crashed = crash_on_load_findings(warm, cold, changed)
        files = [*_damaged(warm, failures), *_new_files(warm)]
        if crashed:
            # What was found under its key did not fail because of the key.
            failures, changed = [each for each in failures if each.headline() not in crashed[0].what], []
        return [*crashed, *files, *_causes(warm, failures, changed, engine)]
    lookups = engine.lookups(cold.facts, warm.facts, failures)
    if not (_compiled(warm, lookups) or failures):
        return [*_damaged(warm, failures, is_unnoticed=True), *_new_files(warm)]
    moved, own = frames_by_cause(known.warm_frames, cold, warm) if lookups.missed else ([], known.warm_frames)
    causes = [
        *_damaged(warm, failures),
        *_causes(warm, failures, [factor for factor in changed if lookups.can_explain(factor.group)], engine),
        *(_never_saved(cold, engine) if lookups.nothing_saved else []),
    ]
    nested = outside_findings(known.cold_frames, own)
    if not causes and (lookups.missed or not nested):
        causes = _new_files(warm) or [_unexplained(cold, warm, known, engine)]
    else:
        nested += _new_files(warm)
    if causes:
        causes[0].details.extend(moved_details(moved, cold, warm))
    seconds = seconds_of_engine(warm, own) if lookups.missed else None
    return [*charge_together(causes, seconds), *nested, *_loaded_unseen(warm, engine)]


def _compiled(warm: StartRecord, lookups: Lookups) -> bool:
    work = warm.compiler_work
    stats = _first_rank(warm)
    return (
        (work is not None and work.code_generations > 0)
        or (stats is not None and (stats.saved > 0 or stats.misses > 0))
        or lookups.compiled
    )


def _first_rank(record: StartRecord) -> CompileStats | None:
    return next(iter(load_vocabulary(record.engine).compile_stats(record).values()), None)


def _damaged(warm: StartRecord, failures: list[LoadFailure], *, is_unnoticed: bool = False) -> list[Finding]:
    changes = [change for change in warm.caches_changed if change.how != "new"]
    return [damage_finding(change, failures, is_unnoticed=is_unnoticed) for change in changes[:_MOST_FILES]]


def _new_files(warm: StartRecord) -> list[Finding]:
    # A new file does not explain why a different one cannot be loaded.
    changes = [change for change in warm.caches_changed if change.how == "new"]
    return [damage_finding(change, []) for change in changes[:_MOST_FILES]]


def _causes(
    warm: StartRecord, failures: list[LoadFailure], changed: list[ChangedFactor], engine: Vocabulary
) -> list[Finding]:
    """Return what the engine could not load, by its log, then what differs in its keys."""
    return [*_load_failures(failures, warm, changed, engine), *key_findings(changed, failures, engine)]


def _load_failures(
    failures: list[LoadFailure], warm: StartRecord, changed: list[ChangedFactor], engine: Vocabulary
) -> list[Finding]:
    """Return a finding for each failure that neither a damaged file nor a changed source explains."""
    if any(change.how != "new" for change in warm.caches_changed):
        # A function may be loaded from several files.
        return []
    by_source = any(factor.group == "source" for factor in changed)
    return [load_failure_finding(each, engine) for each in failures if not (by_source and each.by_source)]


def _never_saved(cold: StartRecord, engine: Vocabulary) -> list[Finding]:
    details = [f"{message.logger}: {(message.text.splitlines() or [''])[0]}" for message in cold.messages]
    switch = engine.cache_switch(cold.environment)
    counters = ", ".join(f"{name} = 0" for name in engine.saved_counters)
    return [
        Finding(
            kind=FindingKind.NEVER_SAVED,
            start=StartKind.WARM,
            what="the cold start saved nothing for a warm start to load"
            + (f": {switch} switches the cache off" if switch else ""),
            details=details,
            evidence=[Evidence(file=record_name(StartKind.COLD), record=f"facts.counters: {counters}")],
            next="unset it"
            if switch
            else f"read {log_name(StartKind.COLD)} for what was bypassed or could not be serialized",
        )
    ]


def _unexplained(cold: StartRecord, warm: StartRecord, known: KnownOfRun, engine: Vocabulary) -> Finding:
    details = []
    if known.cold_keys is None or known.warm_keys is None:
        details.append("the components of the cache keys were not recorded")
    else:
        factors = sum(len(group) for group in known.warm_keys.factors.values())
        details.append(f"all {factors} recorded components of the cache keys are the same as in the cold start")
    return Finding(
        kind=FindingKind.UNEXPLAINED,
        start=StartKind.WARM,
        what="the warm start compiled something, and nothing that was recorded explains why",
        details=details,
        evidence=[Evidence(file=record_name(record.kind), record="facts.counters") for record in (cold, warm)],
        next=f"{engine.more_logs} ({log_name(StartKind.WARM)})",
    )


def _loaded_unseen(warm: StartRecord, engine: Vocabulary) -> list[Finding]:
    work, facts, stats = warm.compiler_work, warm.facts, _first_rank(warm)
    if work is None or facts is None or stats is None or work.records == 0 or not stats.saved:
        return []
    hits = facts.counters.get("torch.aot_autograd.autograd_cache_hit", 0)
    fx_hits = facts.counters.get("torch.inductor.fxgraph_cache_hit", 0)
    if work.code_generations >= stats.saved or not (hits or fx_hits):
        return []
    return [
        Finding(
            kind=FindingKind.LOADED_UNSEEN,
            start=StartKind.WARM,
            what=f"{stats.saved} artifacts were re-saved with {work.code_generations} code generations: "
            f"the rest came from the compiler's own caches, which {engine.title}'s counters do not count "
            f"(AOTAutograd {hits} hits, FX graph {fx_hits})",
            evidence=[Evidence(file=record_name(StartKind.WARM), record="facts.counters, compiler_work")],
        )
    ]
