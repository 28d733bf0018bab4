"""Explains the parts of cache keys that were other ones in the warm start."""

from __future__ import annotations

from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import keys_name
from coldwarm.diagnose.load_failures import LoadFailure

_MOST_FINDINGS = 12
_ORDER = ("vllm", "torch", "system", "environment", "config.additional_config", "source")


def key_findings(changed: list[ChangedFactor], failures: list[LoadFailure]) -> list[Finding]:
    """A finding for each factor that `changed`, and with it what the engine said when it refused to load."""
    by_source = any(factor.group == "source" for factor in changed)
    # Where `forward` stands in its file is part of the key, and moves with any edit above it.
    told = [factor for factor in changed if not (by_source and factor.group == "model")]
    # Where there is more than can be told, what a user can do something about comes first.
    told.sort(key=lambda factor: _ORDER.index(factor.group) if factor.group in _ORDER else len(_ORDER))
    refusal = next((failure for failure in failures if failure.is_by_source()), None)
    findings = [_key_finding(factor, refusal) for factor in told[:_MOST_FINDINGS]]
    if len(told) > _MOST_FINDINGS:
        findings[-1].details.append(f"and {len(told) - _MOST_FINDINGS} more factors of the key differ")
    return findings


def _key_finding(factor: ChangedFactor, refusal: LoadFailure | None) -> Finding:
    evidence = [
        Evidence(file=keys_name(kind), record=f"{factor.group}: {factor.name} = {_value(value)}")
        for kind, value in ((StartKind.COLD, factor.cold), (StartKind.WARM, factor.warm))
    ]
    if factor.group == "source" and refusal is not None:
        evidence.append(refusal.evidence())
    what, advice = _told_by_group(factor)
    return Finding(
        kind=FindingKind.KEY_CHANGED,
        start=StartKind.WARM,
        what=f"{what}: {_value(factor.cold)} cold, {_value(factor.warm)} warm",
        where=factor.name if factor.group == "source" else None,
        details=factor.hints,
        evidence=evidence,
        next=advice,
    )


def _told_by_group(factor: ChangedFactor) -> tuple[str, str]:
    match factor.group:
        case "environment":
            return (
                f"the environment variable {factor.name} is part of vLLM's cache key and changed",
                f"set {factor.name} to the same value wherever the cache is filled and used",
            )
        case "source" if factor.cold is None or factor.warm is None:
            start = StartKind.COLD if factor.warm is None else StartKind.WARM
            return (
                f"the source files that enter the cache key are not the same: {factor.name} was hashed {start} alone",
                "a defect of the engine, unless the model takes another way through its code: cold, all files that "
                "Dynamo traced are hashed; warm, those that the saved function names "
                "(vllm/compilation/decorators.py, _verify_source_unchanged)",
            )
        case "source":
            return (
                f"a source file that the model is compiled from changed, {factor.name}",
                "fill the cache anew with every change of the code; a cache belongs to the very sources it was made of",
            )
        case "config.additional_config":
            return (
                f"the engine's option additional_config.{factor.name} is part of vLLM's cache key and changed",
                "keep out of additional_config what differs from start to start",
            )
        case "vllm" | "torch" | "system":
            return (
                f"the cache belongs to another {factor.group} ({factor.name})",
                "fill the cache with the very versions and the hardware that use it",
            )
    return (
        f"{factor.group}.{factor.name} is part of vLLM's cache key and changed"
        if factor.group.startswith("config.")
        else f"{factor.name} of the {factor.group} is part of the cache key and changed",
        "start with the same setting wherever the cache is filled and used",
    )


def _value(value: str | None) -> str:
    return "nothing" if value is None else value or "(empty)"
