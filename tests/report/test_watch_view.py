from __future__ import annotations

import pytest

from coldwarm.diagnose.warmth import ProcessWarmth, StartWarmth, Warmth
from coldwarm.report.watch_view import watch_text


@pytest.mark.parametrize(
    ("did", "blocks", "shown"),
    [
        (["3 artifacts loaded"], 64, "warm (3 artifacts loaded, 64 KV cache blocks)"),
        (["3 artifacts loaded"], None, "warm (3 artifacts loaded)"),
        ([], 64, "warm (64 KV cache blocks)"),
        ([], None, "warm"),
    ],
)
def test_a_rank_has_the_size_of_its_kv_cache(did: list[str], blocks: int | None, shown: str) -> None:
    process = ProcessWarmth(pid=7, role="worker", rank=0, warmth=Warmth.WARM, did=did, kv_cache_blocks=blocks)
    text = watch_text(StartWarmth(command=["serve"], seconds=1.0, warmth=Warmth.WARM, processes=[process]))
    assert text.splitlines()[1] == f"  process 7, worker, rank 0: {shown}"
