"""Explains the components of cache keys that differ in the warm start."""

from __future__ import annotations

from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import keys_name
from coldwarm.engines.vocabulary import Vocabulary

_MOST_FINDINGS = 12


def key_findings(changed: list[ChangedFactor], failures: list[LoadFailure], engine: Vocabulary) -> list[Finding]:
    """Return a finding for each component that `changed`, with what the engine logged when it refused to load.

    Args:
        changed: Components of the engine's keys.
        failures: What the engine could not load.
        engine: What the groups of components mean.
    """
    by_source = any(factor.group == "source" for factor in changed)
    # The line number of `forward` is part of the key, and moves with any edit above it.
    shown = [factor for factor in changed if not (by_source and factor.group == "model")]
    # If there are more than can be shown, those that a user can do something about come first.
    order = engine.key_order
    shown.sort(key=lambda factor: order.index(factor.group) if factor.group in order else len(order))
    refusal = next((failure for failure in failures if failure.by_source), None)
    findings = [_key_finding(factor, refusal, engine) for factor in shown[:_MOST_FINDINGS]]
    if len(shown) > _MOST_FINDINGS:
        findings[-1].details.append(f"and {len(shown) - _MOST_FINDINGS} more components of the key differ")
    return findings


def _key_finding(factor: ChangedFactor, refusal: LoadFailure | None, engine: Vocabulary) -> Finding:
    evidence = [
        Evidence(file=keys_name(kind), record=f"{factor.group}: {factor.name} = {_value(value)}")
        for kind, value in ((StartKind.COLD, factor.cold), (StartKind.WARM, factor.warm))
    ]
    if factor.group == "source" and refusal is not None:
        evidence.append(refusal.evidence())
    what, advice = engine.describe_key_change(factor)
    return Finding(
        kind=FindingKind.KEY_CHANGED,
        start=StartKind.WARM,
        what=f"{what}: {_value(factor.cold)} cold, {_value(factor.warm)} warm",
        where=factor.name if factor.group == "source" else None,
        details=factor.hints,
        evidence=evidence,
        changed=factor,
        next=advice,
    )


def _value(value: str | None) -> str:
    return "nothing" if value is None else value or "(empty)"
