"""Finds a KV cache that is smaller after a cold start than after a warm one."""

from __future__ import annotations

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import ProcessReport, StartKind, StartRecord
from coldwarm.core.run_folder import record_name

_FRACTION_OF_NOISE = 0.01
"""A smaller difference may be due to what else used the device's memory meanwhile; a choice, not a measurement."""


def kv_cache_findings(cold: StartRecord, warm: StartRecord) -> list[Finding]:
    """Return a finding if the cold start left less memory for the KV cache of a rank.

    An engine that gives the KV cache what is left of the memory also counts what the compiler needed at its peak.
    """
    of_warm = {process.rank: process for process in _ranks(warm)}
    shrunk = [
        (process, of_warm[process.rank])
        for process in _ranks(cold)
        if process.rank in of_warm and _is_smaller(process, of_warm[process.rank])
    ]
    if not shrunk:
        return []
    # Ranks have equally many blocks, unless the engine does not coordinate them.
    before, after = shrunk[0]
    assert before.kv_cache_blocks is not None
    assert after.kv_cache_blocks is not None
    percent = 100 * (1 - before.kv_cache_blocks / after.kv_cache_blocks)
    return [
        Finding(
            kind=FindingKind.KV_CACHE_SMALLER,
            start=StartKind.COLD,
            what=f"the KV cache has {before.kv_cache_blocks} blocks after the cold start and {after.kv_cache_blocks} "
            f"after the warm one ({percent:.0f} % fewer, rank {before.rank}): a start that compiles may have less "
            "memory left for it",
            evidence=[
                Evidence(
                    file=record_name(kind), record=f"rank {process.rank}: kv_cache_blocks = {process.kv_cache_blocks}"
                )
                for pair in shrunk
                for kind, process in zip(StartKind, pair, strict=True)
            ],
            next="restart once the cache is filled, or give the KV cache a fixed size",
        )
    ]


def _ranks(record: StartRecord) -> list[ProcessReport]:
    return record.facts.processes if record.facts is not None else []


def _is_smaller(cold: ProcessReport, warm: ProcessReport) -> bool:
    if cold.kv_cache_blocks is None or warm.kv_cache_blocks is None:
        return False
    return cold.kv_cache_blocks < warm.kv_cache_blocks * (1 - _FRACTION_OF_NOISE)
