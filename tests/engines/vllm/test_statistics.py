from __future__ import annotations

import subprocess
import sys

from coldwarm.core.record import ProcessReport, StartRecord
from coldwarm.core.stats import CompileStats
from coldwarm.engines.base import load_vocabulary
from coldwarm.engines.vllm.statistics import LOADED, MISSES, SAVED, SUBGRAPHS, compile_stats, counters_of_trace
from tests.support.records import cold_facts, cold_record, compiler_work, unfinished_record


def ranks(**work: object) -> StartRecord:
    """Return a start with two ranks, the second of which counted twice as much."""
    counters = {SUBGRAPHS: 9, SAVED: 3, LOADED: 1, MISSES: 4}
    processes = [
        ProcessReport(pid=1, rank=0, counters=counters),
        ProcessReport(pid=2, rank=1, counters={name: 2 * count for name, count in counters.items()}),
    ]
    return cold_record(facts=cold_facts(counters=counters, processes=processes), compiler_work=compiler_work(**work))


def test_one_rank_has_the_counts_of_the_whole_trace() -> None:
    record = cold_record(
        counters={SUBGRAPHS: 9},
        compiler_work=compiler_work(code_generations=4, subgraphs_unique=3, compile_ranges=2, garbled_lines=1),
    )
    assert compile_stats(record) == {
        0: CompileStats(
            rank=0,
            subgraphs=9,
            unique=3,
            saved=3,
            loaded=0,
            misses=4,
            code_generations=4,
            compile_ranges=2,
            unreadable_lines=1,
        )
    }


def test_each_rank_has_its_own_counts() -> None:
    found = compile_stats(ranks(code_generations=5, code_generations_by_rank={1: 5}, traced_ranks=[0, 1]))
    assert [(stats.subgraphs, stats.saved, stats.loaded, stats.misses) for stats in found.values()] == [
        (9, 3, 1, 4),
        (18, 6, 2, 8),
    ]
    assert {rank: stats.code_generations for rank, stats in found.items()} == {0: 0, 1: 5}


def test_code_generations_of_a_rank_without_a_trace_are_not_known() -> None:
    found = compile_stats(ranks(traced_ranks=[0]))
    assert {rank: stats.code_generations for rank, stats in found.items()} == {0: 0, 1: None}
    assert found[1].unique is None


def test_without_a_trace_code_generations_are_not_known() -> None:
    [stats] = compile_stats(cold_record(compiler_work=compiler_work(records=0))).values()
    assert (stats.unique, stats.code_generations) == (None, None)


def test_a_start_that_did_not_finish_has_no_statistics() -> None:
    assert compile_stats(unfinished_record()) == {}


def test_a_trace_shows_what_would_be_saved() -> None:
    record = cold_record(counters={SUBGRAPHS: 9}, compiler_work=compiler_work(subgraphs_unique=2))
    assert counters_of_trace(record) == {SUBGRAPHS: 9, SAVED: 2}


def test_an_unknown_engine_counts_like_vllm() -> None:
    assert load_vocabulary("no such engine").saved == SAVED


def test_reading_statistics_imports_neither_vllm_nor_torch() -> None:
    code = (
        "import sys; from coldwarm.engines.base import load_vocabulary; load_vocabulary('vllm'); "
        "sys.exit(bool({'torch', 'vllm'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
