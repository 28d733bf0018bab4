"""Finds ranks of one start that disagree, although they run the same part of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from coldwarm.core.cache_keys import CacheKeys, changed_factors
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import ProcessReport, StartKind, StartRecord
from coldwarm.core.run_folder import keys_name, record_name
from coldwarm.core.stats import CompileStats
from coldwarm.engines.base import load_vocabulary

_MOST_COMPONENTS = 12
_MOST_MESSAGES = 3
_SAME_SETTINGS = "start all ranks with the same settings, versions and files"


def rank_findings(record: StartRecord, keys: Mapping[int, CacheKeys], *, when: str = "") -> list[Finding]:
    """Return what ranks do differently from the first one that runs the same part of the model.

    Stages of a pipeline are different parts, and are not compared. Misses and code generations of a cold start are not
    compared either: ranks with the same keys find what another has just saved in the compiler's cache.

    Args:
        record: A start. If it did not finish, or if two of its processes have the same rank, nothing is compared.
        keys: The components of the cache keys of each rank, as far as they are known.
        when: How messages name the start (``in the cold start``); empty: not at all.
    """
    findings: list[Finding] = []
    for first, *others in parts_of(record):
        findings += _different_work(record, first, others, f" {when}" if when else "")
        findings += _different_keys(record, first, others, keys)
    return findings


def rank_of_keys(record: StartRecord, process: ProcessReport) -> int | None:
    """Return the rank under which the keys of a process are stored (`keys_name`); None: it has those of the first."""
    first = record.facts.processes[0] if record.facts is not None and record.facts.processes else process
    return None if process.keys_digest == first.keys_digest else process.rank


def parts_of(record: StartRecord) -> Iterator[list[ProcessReport]]:
    """Yield the ranks that run the same part of the model, layers of the same paths; none if ranks occur twice."""
    processes = record.facts.processes if record.facts is not None else []
    if len({process.rank for process in processes}) < len(processes):
        return
    parts: dict[tuple[str, ...], list[ProcessReport]] = {}
    for process in processes:
        parts.setdefault(tuple(sorted(process.layer_configurations)), []).append(process)
    yield from parts.values()


def _different_work(
    record: StartRecord, first: ProcessReport, others: Sequence[ProcessReport], when: str
) -> Iterator[Finding]:
    stats = load_vocabulary(record.engine).compile_stats(record)
    expected = stats[_rank(first)]
    same: dict[tuple[str, ...], list[ProcessReport]] = {}
    for process in others:
        found = _differences(record.kind, stats[_rank(process)], expected)
        if found:
            same.setdefault(tuple(found), []).append(process)
    for differences, processes in same.items():
        verb = "differs" if len(processes) == 1 else "differ"
        yield Finding(
            kind=FindingKind.RANKS_DISAGREE,
            start=record.kind,
            what=f"{_named(processes)} {verb} from rank {first.rank}{when}: {', '.join(differences)}",
            details=_own_messages(first, processes),
            evidence=[
                Evidence(file=record_name(record.kind), record=f"rank {each.rank}: {_counts(stats[_rank(each)])}")
                for each in (first, *processes)
            ],
        )


def _differences(kind: StartKind, found: CompileStats, expected: CompileStats) -> list[str]:
    """Return how the work of a rank differs from that of the first."""
    compared = (
        ("found", "subgraph", found.subgraphs, expected.subgraphs),
        ("saved", "artifact", found.saved, expected.saved),
        ("loaded", "artifact", found.loaded, expected.loaded),
    )
    differences = [
        f"{verb} {_plural(own, noun)} instead of {other}" for verb, noun, own, other in compared if own != other
    ]
    if kind is StartKind.WARM and _compiled(found) != _compiled(expected):
        # The engine is ready only when all ranks are.
        differences.append(
            f"compiled ({_work(found)}) while rank {expected.rank} waited"
            if _compiled(found)
            else f"waited while rank {expected.rank} compiled ({_work(expected)})"
        )
    return differences


def _compiled(stats: CompileStats) -> bool:
    return bool(stats.misses or stats.code_generations)


def _work(stats: CompileStats) -> str:
    misses = f"{stats.misses} AOTAutograd cache {'miss' if stats.misses == 1 else 'misses'}"
    return (
        misses if stats.code_generations is None else f"{misses}, {_plural(stats.code_generations, 'code generation')}"
    )


def _counts(stats: CompileStats) -> str:
    return f"{_plural(stats.subgraphs, 'subgraph')}, {stats.saved} saved, {stats.loaded} loaded, {_work(stats)}"


def _own_messages(first: ProcessReport, processes: Iterable[ProcessReport]) -> list[str]:
    """Return the first warnings and errors of these ranks that the first one does not have."""
    details = []
    for process in processes:
        own = [message for message in process.messages if message not in first.messages]
        for message in own[:_MOST_MESSAGES]:
            line = next(iter(message.text.splitlines()), "")
            exception = f" ({message.exception})" if message.exception else ""
            details.append(f"rank {process.rank}: {message.level}: {line}{exception}")
    return details


def _different_keys(
    record: StartRecord, first: ProcessReport, others: Sequence[ProcessReport], keys: Mapping[int, CacheKeys]
) -> list[Finding]:
    """Return a finding for each component that differs; groups that only one of two ranks computed are not compared."""
    components: dict[tuple[str, str, str, str], list[ProcessReport]] = {}
    unknown = []
    for process in others:
        known, own = keys.get(_rank(first)), keys.get(_rank(process))
        if known is None or own is None:
            if None not in (process.keys_digest, first.keys_digest) and process.keys_digest != first.keys_digest:
                unknown.append(process)
            continue
        for factor in changed_factors(known, own):
            component = factor.group, factor.name, _value(factor.cold), _value(factor.warm)
            components.setdefault(component, []).append(process)
    findings = []
    for (group, name, expected, found), processes in list(components.items())[:_MOST_COMPONENTS]:
        values = ((first, expected), *((process, found) for process in processes))
        findings.append(
            Finding(
                kind=FindingKind.RANKS_DISAGREE,
                start=record.kind,
                what=f"ranks have different cache keys, {group}: {name} is {expected} in rank {first.rank}, "
                f"{found} in {_named(processes)}",
                evidence=[
                    Evidence(
                        file=keys_name(record.kind, rank_of_keys(record, process)), record=f"{group}: {name} = {value}"
                    )
                    for process, value in values
                ],
                next=_SAME_SETTINGS,
            )
        )
    if len(components) > _MOST_COMPONENTS:
        findings[-1].details.append(f"and {len(components) - _MOST_COMPONENTS} more components of the keys differ")
    if unknown:
        findings.append(
            Finding(
                kind=FindingKind.RANKS_DISAGREE,
                start=record.kind,
                what=f"{_named(unknown)} and rank {first.rank} have different cache keys, and not all of their "
                "components were recorded",
            )
        )
    return findings


def _rank(process: ProcessReport) -> int:
    assert process.rank is not None, "runs a part of the model"
    return process.rank


def _named(processes: Sequence[ProcessReport]) -> str:
    listed = ", ".join(str(process.rank) for process in processes)
    return f"rank {listed}" if len(processes) == 1 else f"ranks {listed}"


def _value(value: str | None) -> str:
    return "nothing" if value is None else value or "(empty)"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
