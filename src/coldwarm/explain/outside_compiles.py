"""Explains what was compiled beside the engine's own piecewise compilation, by a torch.compile elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from coldwarm.explain.finding import Evidence, Finding, FindingKind
from coldwarm.explain.frame_caches import Frame
from coldwarm.explain.key_components import changed_components
from coldwarm.starts.record import StartKind

_MOST_COMPONENTS = 5


def outside_findings(cold: list[Frame], warm: list[Frame], seconds: float | None) -> list[Finding]:
    """A finding for each function that torch.compile compiled beside the engine's model, and whose cache missed."""
    findings = []
    for name, frames in _by_function(warm).items():
        missed = [event for frame in frames if (event := frame.outcome("AOTAutograd")) and event.outcome != "hit"]
        if not missed:
            continue
        cold_keys = {event.key for frame in cold if frame.named() == name and (event := frame.outcome("AOTAutograd"))}
        same = sum(1 for event in missed if event.key is not None and event.key in cold_keys)
        again = [event for frame in frames if (event := frame.outcome("FX graph"))]
        hits = sum(1 for event in again if event.outcome == "hit")
        bypassed = sum(1 for event in missed if event.outcome == "bypass")
        findings.append(
            Finding(
                kind=FindingKind.COMPILED_OUTSIDE,
                start=StartKind.WARM,
                what=f"torch.compile of {name}, beside the engine's own compilation, found nothing in AOTAutograd's "
                f"cache, {len(missed)} of {len(frames)} times" + (f" ({bypassed} without a key)" if bypassed else ""),
                where=frames[0].source,
                details=[
                    f"of these keys, {same} of {len(missed)} were those of the cold start"
                    + (", whose results were not kept" if same else ""),
                    *([f"Inductor's FX graph cache had {hits} of {len(again)} that it was asked for"] if again else []),
                    *_key_changes([frame for frame in cold if frame.named() == name], frames),
                    *sorted({event.reason for event in missed if event.reason}),
                ],
                evidence=[
                    Evidence(
                        file=f"warm.trace/{event.place.file}",
                        record=f"line {event.place.line}: AOTAutograd {event.outcome} {event.key}",
                    )
                    for event in missed[:3]
                ],
                seconds=seconds,
            )
        )
    return findings


def _key_changes(cold: list[Frame], warm: list[Frame]) -> list[str]:
    """What differs between the keys of the first compilations whose components the traces tell."""
    before, after = _components(cold), _components(warm)
    if not before or not after:
        return []
    return [f"the compiler's key: {change}" for change in changed_components(before, after)[:_MOST_COMPONENTS]]


def _components(frames: list[Frame]) -> list[str]:
    events = (frame.outcome("FX graph") for frame in frames)
    return next((event.components for event in events if event and event.components), [])


def _by_function(frames: Iterable[Frame]) -> dict[str, list[Frame]]:
    found: dict[str, list[Frame]] = {}
    for frame in frames:
        found.setdefault(frame.named(), []).append(frame)
    return found
