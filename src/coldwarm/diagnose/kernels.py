"""Explains the kernels that the warm start compiled, or that a start compiled after the engine was ready."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.kernels import Compiler, KernelEvent
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import record_name
from coldwarm.core.stats import KernelWork
from coldwarm.engines.base import load_vocabulary
from coldwarm.measure.intervals import Interval, seconds, without
from coldwarm.measure.kernel_work import compiled_events, events_after_ready, intervals_of
from coldwarm.measure.recompiled_kernels import Cause, Recompiled, recompiled_kernels

_MOST_KEYS = 3
_FEWEST_LAYERS = 4
"""Fewer layers than this are as many as the keys of a kernel by coincidence."""

_CUTE_DSL = (
    "none by a setting, because cute.compile never uses a cache on disk: https://github.com/NVIDIA/cutlass/issues/3398"
)
# Libraries that cache what cute.compile returns, by a part of the path of the code that asks for the kernel.
_CUTE_DSL_CACHES = {
    "flash_attn": "set FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED=1, and FLASH_ATTENTION_CUTE_DSL_CACHE_DIR to a folder "
    "that persists",
    "quack": "set QUACK_CACHE_ENABLED=1, and QUACK_CACHE_DIR to a folder that persists",
}


def kernel_findings(
    cold: StartRecord, warm: StartRecord | None, charged: Mapping[StartKind, Sequence[Interval]]
) -> list[Finding]:
    """Return the findings on the kernel compilers of a run; none if they were not recorded.

    Args:
        cold: The cold start.
        warm: The warm start; None at a depth without one.
        charged: The time of each start that other findings are charged for, because torch.compile worked.
    """
    works = {record.kind: _works(record) for record in (cold, warm) if record is not None}
    cold_works, warm_works = works[StartKind.COLD], works.get(StartKind.WARM, {})
    findings: list[Finding] = []
    if warm is not None:
        findings += _recompiled(warm, cold_works, warm_works, charged[StartKind.WARM])
    findings += _after_ready(works, charged[StartKind.COLD])
    return [*findings, *_repeated(cold_works), *_by_layer(cold, cold_works)]


def _works(record: StartRecord) -> dict[int, KernelWork]:
    """Return what the kernel compilers did in each rank of a finished start."""
    stats = load_vocabulary(record.engine).compile_stats(record)
    return {rank: each.kernels for rank, each in stats.items() if each.kernels is not None}


def _recompiled(
    warm: StartRecord, cold_works: dict[int, KernelWork], warm_works: dict[int, KernelWork], charged: Sequence[Interval]
) -> list[Finding]:
    groups: dict[tuple[str, str], list[Recompiled]] = {}
    for rank, work in warm_works.items():
        for each in recompiled_kernels(cold_works.get(rank), work):
            groups.setdefault((each.label, each.reason), []).append(each)
    costs = _costs([[event for each in group for event in each.events] for group in groups.values()], charged)
    findings = []
    for group, cost in zip(groups.values(), costs, strict=True):
        first = group[0]
        keys = max(each.keys for each in group)
        findings.append(
            Finding(
                kind=FindingKind.KERNEL_RECOMPILED,
                start=StartKind.WARM,
                what=f"{first.compiler} compiled `{first.kernel}` with {_keys(keys)} in the warm start: {first.reason}",
                where=next((event.where for event in first.events if event.where), None),
                details=[first.example] if first.example else [],
                evidence=_evidence(StartKind.WARM, first.events),
                seconds=cost,
                kernel=first.label,
                keys=keys,
                next=advice_on(first, warm),
            )
        )
    return sorted(findings, key=lambda finding: -(finding.seconds or 0.0))


def _costs(groups: Sequence[Sequence[KernelEvent]], charged: Sequence[Interval]) -> list[float | None]:
    """Return the seconds of each group of events, without the time that another group or finding is charged for.

    Compilers work in several threads, and one may call another (an autotuner compiles its candidates): time belongs to
    the group with the fewest seconds, which is the innermost.
    """
    intervals = [intervals_of(group) for group in groups]
    costs: list[float | None] = [None] * len(groups)
    taken = list(charged)
    for number in sorted(range(len(groups)), key=lambda number: seconds(intervals[number])):
        if intervals[number]:
            costs[number] = seconds(without(intervals[number], taken))
            taken += intervals[number]
    return costs


def _after_ready(works: dict[StartKind, dict[int, KernelWork]], charged: Sequence[Interval]) -> list[Finding]:
    """Return a finding for each kernel that was compiled after the engine was ready.

    The seconds of the warm start are those of another finding, because the warm start should compile nothing at all.
    """
    late: dict[str, dict[StartKind, list[KernelEvent]]] = {}
    keys: dict[str, dict[int, set[str]]] = {}
    for kind, of_start in works.items():
        for rank, work in of_start.items():
            for event in events_after_ready(work.events):
                label = f"{event.compiler} {event.kernel}"
                late.setdefault(label, {}).setdefault(kind, []).append(event)
                keys.setdefault(label, {}).setdefault(rank, set()).add(event.key)
    costs = _costs([starts.get(StartKind.COLD, []) for starts in late.values()], charged)
    findings = []
    for (label, starts), cost in zip(late.items(), costs, strict=True):
        kind = next(iter(starts))
        first = starts[kind][0]
        count = max(len(own) for own in keys[label].values())
        findings.append(
            Finding(
                kind=FindingKind.COMPILED_AFTER_READY,
                start=kind,
                what=f"{first.compiler} compiled `{first.kernel}` with {_keys(count)} after the engine was ready, in "
                f"the {' and the '.join(starts)} start: the first requests wait for it",
                where=first.where,
                evidence=_evidence(kind, starts[kind]),
                seconds=cost,
                shares_cost=kind is StartKind.WARM,
                kernel=label,
                keys=count,
                next="have the engine compile it in its warm-up",
            )
        )
    return findings


def _by_layer(cold: StartRecord, works: dict[int, KernelWork]) -> list[Finding]:
    """Return a finding for each kernel that has a key component with as many values as the model has layers."""
    layers = sum(kind.layers for kind in cold.facts.layer_kinds) if cold.facts is not None else 0
    if layers < _FEWEST_LAYERS or not works:
        return []
    by_kernel: dict[str, list[KernelEvent]] = {}
    for event in compiled_events(works[min(works)].events):
        by_kernel.setdefault(f"{event.compiler} {event.kernel}", []).append(event)
    findings = []
    for label, events in by_kernel.items():
        keys = len({event.key for event in events})
        names = dict.fromkeys(name for event in events for name in event.components)
        growing = [name for name in names if _has_values(layers, [event.components.get(name) for event in events])]
        if keys == 0 or keys % layers or not growing:
            continue
        findings.append(
            Finding(
                kind=FindingKind.KEYS_BY_LAYER,
                start=StartKind.COLD,
                what=f"{events[0].compiler} compiled `{events[0].kernel}` with {_keys(keys)}, and `{growing[0]}` has "
                f"as many values as the model has layers ({layers}): each layer may have a key of its own",
                where=events[0].where,
                evidence=_evidence(StartKind.COLD, events),
                kernel=label,
                keys=keys,
                next="start the model with a different number of layers, and compare the number of keys",
            )
        )
    return findings


def _has_values(count: int, values: Sequence[str | None]) -> bool:
    """Return whether a component has `count` values, by a single one of its parts.

    Several parts vary when an autotuner tries tile sizes, or with the combinations of what is divisible by 16.
    """
    if len(set(values)) != count:
        return False
    parts = [_parts(value) for value in values]
    varying = [name for name in parts[0] if len({part.get(name) for part in parts}) > 1]
    return any(len(part) != len(parts[0]) for part in parts) or len(varying) == 1


def _parts(component: str | None) -> dict[str, str]:
    """Return the parts of a component by name; a component that is not a table has one part."""
    try:
        table = json.loads(component or "")
    except ValueError:  # other text, or text that was cut off
        table = component
    return {name: repr(value) for name, value in table.items()} if isinstance(table, dict) else {"": repr(table)}


def _repeated(works: dict[int, KernelWork]) -> list[Finding]:
    """Return a finding for each kernel of which the cold start compiled the same key more than once."""
    by_kernel: dict[str, dict[str, list[KernelEvent]]] = {}
    for work in works.values():
        compiled = compiled_events(work.events)
        for each in work.repeated:
            own = [e for e in compiled if (e.compiler, e.kernel, e.key) == (each.compiler, each.kernel, each.key)]
            by_kernel.setdefault(f"{each.compiler} {each.kernel}", {}).setdefault(each.key, own)
    findings = []
    for label, by_key in by_kernel.items():
        events = [event for own in by_key.values() for event in own]
        first = events[0]
        differing = list(dict.fromkeys(name for own in by_key.values() for name in _differing(own)))
        reason = f"{', '.join(differing)} differ, but not what is compiled" if differing else "nothing differs"
        findings.append(
            Finding(
                kind=FindingKind.KERNEL_REPEATED,
                start=StartKind.COLD,
                what=f"{first.compiler} compiled `{first.kernel}` more than once with {_keys(len(by_key))}: {reason}",
                where=first.where,
                evidence=[*_evidence(StartKind.COLD, events), *_values_that_differ(next(iter(by_key.values())))],
                kernel=label,
                keys=len(by_key),
                next="leave out of the library's key what does not change the kernel"
                if differing
                else "keep what was compiled for the whole process",
            )
        )
    return findings


def _differing(events: Sequence[KernelEvent]) -> list[str]:
    """Return the names of the components in which events differ."""
    names = dict.fromkeys(name for event in events for name in event.components)
    return [name for name in names if len({event.components.get(name) for event in events}) > 1]


def _values_that_differ(events: Sequence[KernelEvent]) -> list[Evidence]:
    """Return the values of each component in which events differ."""
    values = {name: dict.fromkeys(event.components.get(name, "") for event in events) for name in _differing(events)}
    return [
        Evidence(file=record_name(StartKind.COLD), record=f"kernels.events: {name}: {' | '.join(own)}")
        for name, own in values.items()
    ]


def _evidence(kind: StartKind, events: Iterable[KernelEvent]) -> list[Evidence]:
    return [
        Evidence(file=record_name(kind), record=f"kernels.events: {line}")
        for line in list(dict.fromkeys(_lines(events)))[:_MOST_KEYS]
    ]


def _lines(events: Iterable[KernelEvent]) -> Iterator[str]:
    for event in events:
        took = "" if event.seconds is None else f" in {event.seconds:.2f} s"
        owner = f", for {event.owner}" if event.owner else ""
        yield f"{event.kernel} {event.outcome}{took}, key {event.key}{owner}"


def advice_on(found: Recompiled, warm: StartRecord) -> str | None:
    """Return how the start could load what it compiled; None: no way is known."""
    event = found.events[0]
    if advice := load_vocabulary(warm.engine).kernel_advice(event):
        return advice
    match found.cause:
        case Cause.IN_MEMORY if found.compiler is Compiler.CUTE_DSL:
            asked = f"{event.where or ''} {event.owner or ''}"
            return next((advice for part, advice in _CUTE_DSL_CACHES.items() if part in asked), _CUTE_DSL)
        case Cause.NOT_STORED if found.compiler is Compiler.TRITON_AUTOTUNE and event.cache_folder is None:
            return "set TRITON_CACHE_AUTOTUNING=1, or `cache_results=True` in the kernel's autotuner"
        case Cause.NOT_STORED if event.cache_folder is not None:
            return f"make {event.cache_folder} a folder that persists and is writable"
        case Cause.OTHER_KEY:
            return "leave out of the key what differs between processes, or make it the same in all of them"
        case Cause.NOT_IN_COLD:
            return "find out in the logs of both starts why only the warm start needs it"
    return None


def _keys(n: int) -> str:
    return f"{n} key" if n == 1 else f"{n} keys"
