"""Explains cache misses of a nested or standalone torch.compile, outside the engine's own piecewise compilation."""

from __future__ import annotations

from collections.abc import Iterable

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import trace_name
from coldwarm.diagnose.key_components import changed_components
from coldwarm.measure.frame_caches import Frame
from coldwarm.trace.kinds import CacheEvent

_MOST_COMPONENTS = 5


def frames_by_cause(frames: list[Frame], cold: StartRecord, warm: StartRecord) -> tuple[list[Frame], list[Frame]]:
    """Split `frames` of the warm start into those that missed because the engine's key moved their cache, and the rest.

    vLLM puts Inductor's caches into the folder that is named after the function's key (vllm/compilation/decorators.py,
    `TORCHINDUCTOR_CACHE_DIR`). If that key changes, what the cold start saved for them is in a different folder.
    """
    moved = [frame for frame in frames if _folders(frame, cold, warm) is not None]
    return moved, [frame for frame in frames if frame not in moved]


def moved_details(moved: list[Frame], cold: StartRecord, warm: StartRecord) -> list[str]:
    """Describe for each function in `moved` where its result was saved, and where the warm start looked for it."""
    details = []
    for name, frames in _by_function(moved).items():
        folders = _folders(frames[0], cold, warm)
        if folders is not None:
            details.append(
                f"torch.compile of {name} was recompiled for the same reason: its cache was {folders[0]}, "
                f"and is {folders[1]}"
            )
    return details


def outside_findings(cold: list[Frame], warm: list[Frame]) -> list[Finding]:
    """Return a finding for each function compiled outside the engine's model that missed the AOTAutograd cache.

    Its cost is the time of those of its frames that missed.
    """
    findings = []
    for name, frames in _by_function(warm).items():
        compiled = [(frame, event) for frame in frames if (event := _miss(frame))]
        if not compiled:
            continue
        missed = [event for _, event in compiled]
        seconds = [frame.seconds for frame, _ in compiled if frame.seconds is not None]
        cold_keys = {event.key for frame in cold if frame.named() == name and (event := frame.outcome("AOTAutograd"))}
        same = sum(1 for event in missed if event.key is not None and event.key in cold_keys)
        lookups = [event for frame in frames if (event := frame.outcome("FX graph"))]
        hits = sum(1 for event in lookups if event.outcome == "hit")
        bypassed = sum(1 for event in missed if event.outcome == "bypass")
        findings.append(
            Finding(
                kind=FindingKind.COMPILED_OUTSIDE,
                start=StartKind.WARM,
                what=f"standalone torch.compile of {name} missed the AOTAutograd cache ({len(missed)} of {len(frames)} "
                f"compilations{f', {bypassed} of them without a key' if bypassed else ''})",
                where=frames[0].source,
                details=[
                    f"{same} of {len(missed)} keys are the same as in the cold start"
                    + (", which did not save their results" if same else ""),
                    *([f"{hits} of {len(lookups)} lookups hit Inductor's FX graph cache"] if lookups else []),
                    *_key_changes([frame for frame in cold if frame.named() == name], frames),
                    *sorted({event.reason for event in missed if event.reason}),
                ],
                evidence=[
                    Evidence(
                        file=f"{trace_name(StartKind.WARM)}/{event.location.file}",
                        record=f"line {event.location.line}: AOTAutograd {event.outcome} {event.key}",
                    )
                    for event in missed[:3]
                ],
                seconds=sum(seconds) if seconds else None,
                misses=len(missed),
            )
        )
    return findings


def _miss(frame: Frame) -> CacheEvent | None:
    """Return the answer of AOTAutograd's cache if it did not have the frame."""
    event = frame.outcome("AOTAutograd")
    return event if event is not None and event.outcome != "hit" else None


def _folders(frame: Frame, cold: StartRecord, warm: StartRecord) -> tuple[str, str] | None:
    """Return the caches in which the cold and the warm start saved a frame that missed, if they differ."""
    event = _miss(frame)
    if event is None or event.key is None:
        return None
    before, after = (_folder_of(event.key, record.files_written) for record in (cold, warm))
    return (before, after) if before and after and before != after else None


def _folder_of(key: str, paths: list[str]) -> str | None:
    """Return the folder that has an entry for `key` (torch/_inductor/codecache.py: a folder named after the key)."""
    return next((path.split(f"/{key}/")[0] for path in paths if f"/{key}/" in path), None)


def _key_changes(cold: list[Frame], warm: list[Frame]) -> list[str]:
    """Return what differs between the keys of the first compilations whose components were traced."""
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
