from __future__ import annotations

import pytest

from coldwarm.core.finding import FindingKind
from coldwarm.core.record import ProcessReport, StartKind
from coldwarm.diagnose.kv_cache import kv_cache_findings
from tests.support.records import cold_facts, cold_record, warm_facts, warm_record


def test_a_smaller_cache_after_the_cold_start_is_a_finding_with_both_sizes() -> None:
    [found] = kv_cache_findings(cold_record(kv_cache_blocks=900), warm_record(kv_cache_blocks=1000))
    assert (found.kind, found.start, found.seconds) == (FindingKind.KV_CACHE_SMALLER, StartKind.COLD, None)
    assert found.what.startswith(
        "the KV cache has 900 blocks after the cold start and 1000 after the warm one (10 % fewer, rank 0)"
    )
    assert [(each.file, each.record) for each in found.evidence] == [
        ("cold.json", "rank 0: kv_cache_blocks = 900"),
        ("warm.json", "rank 0: kv_cache_blocks = 1000"),
    ]


@pytest.mark.parametrize(
    ("cold", "warm"), [(64, 64), (1000, 900), (990, 1000), (None, 1000), (900, None), (None, None)]
)
def test_a_cache_that_is_as_large_or_unknown_is_none(cold: int | None, warm: int | None) -> None:
    assert kv_cache_findings(cold_record(kv_cache_blocks=cold), warm_record(kv_cache_blocks=warm)) == []


def test_the_same_rank_is_compared() -> None:
    of_cold, of_warm = (
        [ProcessReport(pid=rank, rank=rank, kv_cache_blocks=number) for rank, number in enumerate(blocks)]
        for blocks in ((500, 900), (500, 1000))
    )
    [found] = kv_cache_findings(
        cold_record(facts=cold_facts(processes=of_cold)), warm_record(facts=warm_facts(processes=of_warm))
    )
    assert "900 blocks after the cold start and 1000 after the warm one (10 % fewer, rank 1)" in found.what
