from __future__ import annotations

from coldwarm.core.compiler_work import CompiledFunction
from coldwarm.core.record import ProcessReport
from coldwarm.engines.torch.vocabulary import VOCABULARY
from tests.support.records import cold_record, compiler_work

TOTAL, SAVED = "torch.aot_autograd.total", "torch.aot_autograd.autograd_cache_saved"


def test_a_hit_of_what_the_same_start_saved_is_no_load() -> None:
    functions = [
        CompiledFunction(rank=0, name="f", missed=["a"]),
        CompiledFunction(rank=0, name="g", loaded=["a", "b"], bypassed=1),
    ]
    record = cold_record(
        engine="torch",
        compiler_work=compiler_work(functions=functions),
        processes=[ProcessReport(rank=0, counters={TOTAL: 2, SAVED: 1}), ProcessReport(rank=0, counters={TOTAL: 2})],
    )
    [stats] = VOCABULARY.compile_stats(record).values()
    assert (stats.subgraphs, stats.unique, stats.saved, stats.loaded) == (4, 2, 1, 1)


def test_ranks_have_their_own_functions() -> None:
    functions = [CompiledFunction(rank=rank, name="f", loaded=["a"] * rank) for rank in (0, 1)]
    record = cold_record(
        engine="torch",
        compiler_work=compiler_work(functions=functions),
        processes=[ProcessReport(rank=1), ProcessReport(rank=0)],
    )
    assert {rank: each.loaded for rank, each in VOCABULARY.compile_stats(record).items()} == {0: 0, 1: 1}
