"""Why a warm start compiled: what was not there, could not be loaded, or had another key."""

from __future__ import annotations

from dataclasses import dataclass

from coldwarm.explain.costs import seconds_compiling
from coldwarm.explain.damaged_files import damage_finding
from coldwarm.explain.finding import Evidence, Finding, FindingKind
from coldwarm.explain.frame_caches import Frame
from coldwarm.explain.key_changes import key_findings
from coldwarm.explain.load_failures import LoadFailure, load_failure_finding, load_failures
from coldwarm.explain.outside_compiles import outside_findings
from coldwarm.starts.cache_keys import CacheKeys, ChangedFactor, changed_factors
from coldwarm.starts.record import EngineFacts, StartKind, StartRecord
from coldwarm.verdict.invariants import MISSES, SAVED

_SWITCH = "VLLM_DISABLE_COMPILE_CACHE"
_MOST_FILES = 5
_AOT_SAVED = "vllm.num_aot_artifacts_saved"


@dataclass(frozen=True)
class KnownOfRun:
    """All that is known of a run beside its records."""

    cold_keys: CacheKeys | None
    """None: not recorded."""
    warm_keys: CacheKeys | None
    cold_frames: list[Frame]
    warm_frames: list[Frame]

    def changed_factors(self) -> list[ChangedFactor]:
        """The factors of the keys that differ, as far as they were recorded."""
        if self.cold_keys is None or self.warm_keys is None:
            return []
        return changed_factors(self.cold_keys, self.warm_keys)


def miss_findings(cold: StartRecord, warm: StartRecord, known: KnownOfRun) -> list[Finding]:
    """Explain everything that the warm start compiled; empty where it compiled nothing and its caches were whole."""
    failures = load_failures(warm.messages)
    compiled = _compiled(warm) or bool(failures)
    seconds = seconds_compiling(warm) if compiled else None
    damaged = [
        damage_finding(
            change,
            # A file that nobody wrote before is no reason why another one cannot be loaded.
            [] if change.how == "new" else failures,
            seconds,
            is_unnoticed=warm.facts is not None and not compiled and change.how != "new",
        )
        for change in warm.caches_changed[:_MOST_FILES]
    ]
    changed = known.changed_factors()
    if warm.facts is None:
        # It did not end: what it compiled is not known, but what it found may tell why it ended as it did.
        return [*damaged, *key_findings(changed, failures, None), *_load_failures(failures, warm, changed, None)]
    if not compiled:
        return damaged
    findings = [*damaged, *key_findings(changed, failures, seconds)]
    findings += _load_failures(failures, warm, changed, seconds)
    findings += _never_saved(cold, seconds)
    if not findings:
        findings += outside_findings(known.cold_frames, known.warm_frames, seconds)
    if not findings:
        findings.append(_unexplained(cold, warm, known, seconds))
    findings += _loaded_unseen(warm)
    return findings


def _compiled(warm: StartRecord) -> bool:
    work, facts = warm.compiler_work, warm.facts
    return (work is not None and work.code_generations > 0) or (
        facts is not None and (_count(facts, SAVED) > 0 or _count(facts, MISSES) > 0)
    )


def _load_failures(
    failures: list[LoadFailure], warm: StartRecord, changed: list[ChangedFactor], seconds: float | None
) -> list[Finding]:
    """A finding for each failure that neither a damaged file nor a changed source explains."""
    if any(change.how != "new" for change in warm.caches_changed):
        # What a function is loaded from may lie in files beside its own.
        return []
    by_source = any(factor.group == "source" for factor in changed)
    return [load_failure_finding(each, seconds) for each in failures if not (by_source and each.is_by_source())]


def _never_saved(cold: StartRecord, seconds: float | None) -> list[Finding]:
    facts = cold.facts
    if facts is None or _count(facts, SAVED) or _count(facts, _AOT_SAVED):
        return []
    details = [f"{message.logger}: {(message.text.splitlines() or [''])[0]}" for message in cold.messages]
    switch = cold.environment.get(_SWITCH, "0")
    switched_off = [] if switch == "0" else [f"{_SWITCH}={switch}"]
    return [
        Finding(
            kind=FindingKind.NEVER_SAVED,
            start=StartKind.WARM,
            what="the cold start saved nothing that a warm start could load"
            + (f": {', '.join(switched_off)} switches the cache off" if switched_off else ""),
            details=details,
            evidence=[Evidence(file="cold.json", record=f"facts.counters: {SAVED} = 0, {_AOT_SAVED} = 0")],
            seconds=seconds,
            next="unset it" if switched_off else "read cold.log for what was bypassed or could not be serialized",
        )
    ]


def _unexplained(cold: StartRecord, warm: StartRecord, known: KnownOfRun, seconds: float | None) -> Finding:
    details = []
    if known.cold_keys is None or known.warm_keys is None:
        details.append("the factors of the cache keys were not recorded")
    else:
        factors = sum(len(group) for group in known.warm_keys.factors.values())
        details.append(f"all {factors} factors of the cache keys that were recorded are those of the cold start")
    return Finding(
        kind=FindingKind.UNEXPLAINED,
        start=StartKind.WARM,
        what="the warm start compiled, and nothing that was recorded tells why",
        details=details,
        evidence=[Evidence(file=f"{record.kind}.json", record="facts.counters") for record in (cold, warm)],
        seconds=seconds,
        next="VLLM_LOGGING_LEVEL=DEBUG has vLLM log what it looks for (warm.log)",
    )


def _loaded_unseen(warm: StartRecord) -> list[Finding]:
    work, facts = warm.compiler_work, warm.facts
    if work is None or facts is None or work.records == 0 or not _count(facts, SAVED):
        return []
    hits = _count(facts, "torch.aot_autograd.autograd_cache_hit")
    fx_hits = _count(facts, "torch.inductor.fxgraph_cache_hit")
    if work.code_generations >= _count(facts, SAVED) or not (hits or fx_hits):
        return []
    return [
        Finding(
            kind=FindingKind.LOADED_UNSEEN,
            start=StartKind.WARM,
            what=f"{_count(facts, SAVED)} artifacts were saved again with {work.code_generations} code generations: "
            "the rest came from the compiler's own caches, which vLLM's counters do not count "
            f"(AOTAutograd {hits} hits, FX graph {fx_hits})",
            evidence=[Evidence(file="warm.json", record="facts.counters, compiler_work")],
        )
    ]


def _count(facts: EngineFacts, name: str) -> int:
    return facts.counters.get(name, 0)
