"""Splits the records of a start by rank, and combines the checks of all ranks into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coldwarm.core.checks import Check
from coldwarm.core.record import StartRecord


def only_rank(record: StartRecord, rank: int) -> StartRecord:
    """Return a copy of a record that has only the process, messages and graphs of one rank."""
    work = record.compiler_work
    if work is not None:
        work = work.model_copy(update={"graphs": [graph for graph in work.graphs if graph.rank == rank]})
    seen = [process for process in record.processes if process.rank == rank]
    return record.model_copy(update={"processes": seen, "compiler_work": work})


def combine(checks: Mapping[int, Check]) -> Check:
    """Combine the checks of all ranks into one, which passes only if all of them pass."""
    failed = {rank: check for rank, check in checks.items() if not check.holds}
    shown = failed or checks
    same: dict[str, list[int]] = {}
    for rank, check in shown.items():
        same.setdefault(check.words, []).append(rank)
    return Check(
        id=next(iter(checks.values())).id,
        holds=not failed,
        words="; ".join(f"{_ranks(ranks)}: {words}" for words, ranks in same.items()),
        evidence=list(dict.fromkeys(line for check in shown.values() for line in check.evidence)),
        is_checked=all(check.is_checked for check in checks.values()) or bool(failed),
        artifacts_over_limit=max(check.artifacts_over_limit for check in checks.values()),
        misses=_most_misses(failed.values()),
        kernels=_most_keys(failed.values()),
        only_kernels=bool(failed) and all(check.only_kernels for check in failed.values()),
    )


def _most_misses(checks: Iterable[Check]) -> int:
    """Return the misses of the rank with the most; 0 if torch.compile broke the check of any rank in another way."""
    misses = [check.misses for check in checks if check.is_broken_otherwise]
    return max(misses) if misses and all(misses) else 0


def _most_keys(checks: Iterable[Check]) -> dict[str, int]:
    """Return for each kernel the number of its keys in the rank with the most."""
    most: dict[str, int] = {}
    for check in checks:
        most.update({label: max(keys, most.get(label, 0)) for label, keys in check.kernels.items()})
    return most


def _ranks(numbers: Sequence[int]) -> str:
    listed = ", ".join(str(number) for number in numbers)
    return f"rank {listed}" if len(numbers) == 1 else f"ranks {listed}"
