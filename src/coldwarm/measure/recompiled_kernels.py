"""Finds out why kernels were compiled in a warm start, by comparing its events with those of the cold start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from coldwarm.core.kernels import Compiler, KernelEvent
from coldwarm.core.stats import KernelWork
from coldwarm.measure.kernel_work import compiled_events, seconds_of


class Cause(StrEnum):
    """Why a warm start compiled a kernel."""

    IN_MEMORY = "kept only in memory"
    """The compiler has no cache on disk for it, or it is disabled."""
    NOT_STORED = "not found in its cache"
    """The key is that of the cold start, and there is a cache on disk."""
    OTHER_KEY = "another key"
    NOT_IN_COLD = "not compiled in the cold start"


@dataclass(frozen=True)
class Recompiled:
    """A kernel that a start compiled, although it might have loaded it, for one reason."""

    compiler: Compiler
    kernel: str
    cause: Cause
    reason: str
    """The reason, as a part of a sentence."""
    example: str | None
    """The values that differ, or the cache folder, for the first key; None if the reason has no such detail."""
    events: tuple[KernelEvent, ...]

    @property
    def label(self) -> str:
        """The compiler and the kernel."""
        return f"{self.compiler} {self.kernel}"

    @property
    def keys(self) -> int:
        """The number of distinct keys."""
        return len({event.key for event in self.events})

    @property
    def seconds(self) -> float | None:
        """The wall time in which it was compiled, in any thread; None: not known."""
        return seconds_of(self.events)


def compiled_kernels(events: Iterable[KernelEvent]) -> list[Recompiled]:
    """Return each kernel that a start compiled, once for each reason that is known without an earlier start, the
    slowest first.

    Args:
        events: What the kernel compilers did in the start.
    """
    groups: dict[tuple[Compiler, str, Cause, str], list[KernelEvent]] = {}
    for event in compiled_events(events):
        cause, reason = _why_alone(event)
        groups.setdefault((event.compiler, event.kernel, cause, reason), []).append(event)
    return _slowest_first([Recompiled(*group, example=None, events=tuple(of)) for group, of in groups.items()])


def recompiled_kernels(cold: KernelWork | None, warm: KernelWork) -> list[Recompiled]:
    """Return each kernel that the warm start compiled, once for each reason, the slowest first.

    Args:
        cold: What the kernel compilers did in the cold start; None: not recorded.
        warm: What they did in the warm start.
    """
    before: dict[tuple[Compiler, str], list[KernelEvent]] | None = None
    if cold is not None:
        before = {}
        for event in cold.events:
            before.setdefault((event.compiler, event.kernel), []).append(event)
    groups: dict[tuple[Compiler, str, Cause, str], list[KernelEvent]] = {}
    examples: dict[tuple[Compiler, str, Cause, str], str | None] = {}
    for event in compiled_events(warm.events):
        kernel = before.get((event.compiler, event.kernel), []) if before is not None else None
        cause, reason, example = _why(event, kernel)
        group = event.compiler, event.kernel, cause, reason
        groups.setdefault(group, []).append(event)
        examples.setdefault(group, example)
    return _slowest_first(
        [Recompiled(*group, example=examples[group], events=tuple(events)) for group, events in groups.items()]
    )


def _slowest_first(found: Iterable[Recompiled]) -> list[Recompiled]:
    return sorted(found, key=lambda each: -(each.seconds or 0.0))


def _why_alone(event: KernelEvent) -> tuple[Cause, str]:
    """Return why a start compiled what `event` shows, as far as that is known without an earlier start."""
    if event.cache_folder is None and event.why_not_cached is not None:
        return Cause.IN_MEMORY, _in_memory(event.why_not_cached)
    if event.why_not_cached is not None:
        return Cause.NOT_STORED, f"its cache was not used: {event.why_not_cached}"
    if event.cache_folder is None:
        return Cause.NOT_STORED, "no cache on disk is known for it"
    return Cause.NOT_STORED, str(Cause.NOT_STORED)


def _why(event: KernelEvent, kernel: Sequence[KernelEvent] | None) -> tuple[Cause, str, str | None]:
    """Return why the warm start compiled what `event` shows: the cause, in words, and the values that differ.

    Args:
        event: What the warm start compiled.
        kernel: What the cold start did with the same kernel; None: not recorded.
    """
    if kernel is not None and not kernel:
        return Cause.NOT_IN_COLD, Cause.NOT_IN_COLD, None
    if event.cache_folder is None and event.why_not_cached is not None:
        return Cause.IN_MEMORY, _in_memory(event.why_not_cached), None
    if kernel is None:
        return Cause.NOT_STORED, "the kernels of the cold start were not recorded", None
    if event.why_not_cached is not None:
        return Cause.NOT_STORED, f"its cache was not used: {event.why_not_cached}", None
    same = [each for each in kernel if each.key == event.key]
    if not same:
        return _other_key(event, kernel)
    if event.cache_folder is None:
        return Cause.NOT_STORED, "no cache on disk is known for it", None
    if all(each.cache_folder is None for each in same):
        why = next((each.why_not_cached for each in same if each.why_not_cached), None)
        text = (
            "in the cold start, no cache on disk is known for it" if why is None else f"{_in_memory(why)} (cold start)"
        )
        return Cause.IN_MEMORY, text, None
    # Some compilers have a folder for each key, so it is no part of the reason, by which keys are grouped.
    folders = {each.cache_folder for each in same}
    if event.cache_folder not in folders:
        example = f"cache folder: {min(filter(None, folders))} cold, {event.cache_folder} warm"
        return Cause.NOT_STORED, "its cache folder is another one", example
    text = f"{Cause.NOT_STORED} under the same key: the cold start did not store it, or the folder did not persist"
    return Cause.NOT_STORED, text, f"cache folder: {event.cache_folder}"


def _in_memory(why: str) -> str:
    return f"{Cause.IN_MEMORY}: {why.removeprefix('kept in memory only, because ')}"


def _other_key(event: KernelEvent, cold: Iterable[KernelEvent]) -> tuple[Cause, str, str | None]:
    # Of the kernel's keys, the one that the engine asked for likewise, then the one with the fewest differences.
    nearest = min(cold, key=lambda each: (each.owner != event.owner, len(_differing(each, event))))
    names = _differing(nearest, event)
    if not names:
        return Cause.OTHER_KEY, f"{Cause.OTHER_KEY}, and no recorded component of it differs", None
    name = names[0]
    values = nearest.components.get(name, "nothing"), event.components.get(name, "nothing")
    return Cause.OTHER_KEY, f"{Cause.OTHER_KEY}: `{name}` differs", f"`{name}`: {values[0]} cold, {values[1]} warm"


def _differing(cold: KernelEvent, warm: KernelEvent) -> list[str]:
    """Return the names of the components that differ, in their order."""
    names = dict.fromkeys([*cold.components, *warm.components])
    return [name for name in names if cold.components.get(name) != warm.components.get(name)]
