from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_keys import CacheEntry, CacheKeys
from coldwarm.core.record import Message, ProcessReport, StartRecord
from coldwarm.diagnose.warmth import StartWarmth, Warmth, warmth_of
from tests.support.records import LOADED, MISSES, SAVED, compiler_work, warm_record

Factors = dict[str, dict[str, str]]
COMPILED = {SAVED: 3, LOADED: 0, MISSES: 3}


def entry(folder: str, environment: dict[str, str], keys: Factors | None = None) -> CacheEntry:
    stored = CacheKeys(factors={"environment": environment, "config": {"hash": str(keys)}})
    return CacheEntry(folder=folder, modified=0.0, stored=stored, keys=CacheKeys(factors=keys) if keys else None)


def start(counters: dict[str, int] | None = None, **fields: Any) -> StartRecord:
    processes = [
        ProcessReport(pid=1, role="API server"),
        ProcessReport(pid=2, role="worker", rank=0, counters=counters or {SAVED: 0, LOADED: 3}),
    ]
    return warm_record(**{"processes": processes, "command": ["serve"], **fields})


def whys(found: StartWarmth) -> list[str]:
    return [reason.what for reason in found.reasons]


@pytest.mark.parametrize(
    ("counters", "warmth"),
    [
        ({SAVED: 0, LOADED: 3}, Warmth.WARM),
        ({SAVED: 1, LOADED: 2}, Warmth.PARTLY),
        (COMPILED, Warmth.COLD),
        ({SAVED: 0, LOADED: 3, MISSES: 1}, Warmth.PARTLY),
        ({SAVED: 0, LOADED: 0}, Warmth.NOTHING),
    ],
)
def test_the_warmth_of_a_start_is_that_of_its_least_warm_process(counters: dict[str, int], warmth: Warmth) -> None:
    found = warmth_of(start(counters), [], [])
    assert found.warmth is warmth
    assert [process.warmth for process in found.processes] == [Warmth.NOTHING, warmth]


def test_a_rank_that_compiles_while_another_waits_is_named_with_its_key() -> None:
    processes = [
        ProcessReport(pid=2 + rank, rank=rank, counters=counters, cache_keys=CacheKeys(factors={"environment": key}))
        for rank, (counters, key) in enumerate([({SAVED: 0, LOADED: 3}, {"VLLM_A": "1"}), (COMPILED, {"VLLM_A": "2"})])
    ]
    found = whys(warmth_of(start(processes=processes), [], []))
    assert found == [
        "rank 1 differs from rank 0: saved 3 artifacts instead of 0, loaded 0 artifacts instead of 3, compiled "
        "(3 AOTAutograd cache misses) while rank 0 waited",
        "ranks have different cache keys, environment: VLLM_A is 1 in rank 0, 2 in rank 1",
    ]


def test_code_generation_alone_is_compiling() -> None:
    found = warmth_of(start(compiler_work=compiler_work(code_generations=1)), [], [])
    assert found.warmth is Warmth.PARTLY


def test_two_causes_at_once_are_both_named_with_both_values() -> None:
    # `far` is more different.
    before = [
        entry(
            "far",
            {"VLLM_A": "9", "VLLM_B": "9"},
            {"environment": {"VLLM_A": "9", "VLLM_B": "9"}, "config.additional_config": {"worker": "9"}},
        ),
        entry("near", {"VLLM_A": "1"}, {"environment": {"VLLM_A": "1"}, "config.additional_config": {"worker": "1"}}),
    ]
    made = entry("new", {"VLLM_A": "2"}, {"environment": {"VLLM_A": "2"}, "config.additional_config": {"worker": "2"}})
    found = whys(warmth_of(start(COMPILED), before, [*before, made]))
    assert len(found) == 2
    assert "VLLM_A is part of vLLM's cache key and changed: 1 in the cache, 2 now" in " ".join(found)
    assert "additional_config.worker is part of vLLM's cache key and changed: 1 in the cache, 2 now" in " ".join(found)
    assert "(compared with the nearest entry, near)" in found[0]


def test_without_stored_components_variables_are_named_and_the_rest_is_a_hash() -> None:
    before = [entry("old", {"VLLM_A": "1"})]
    made = CacheEntry(
        folder="new",
        modified=0.0,
        stored=CacheKeys(factors={"environment": {"VLLM_A": "2"}, "config": {"hash": "x"}}),
        keys=CacheKeys(factors={"environment": {"VLLM_A": "2"}}),
    )
    found = " ".join(whys(warmth_of(start(COMPILED), before, [*before, made])))
    assert "VLLM_A" in found
    assert "hash of the config" in found


def test_an_empty_cache_is_the_reason() -> None:
    assert whys(warmth_of(start(COMPILED), [], [entry("new", {})])) == ["the cache had no entry of any start"]


def test_a_function_that_could_not_be_loaded_is_the_reason() -> None:
    message = Message(
        logger="vllm",
        level="WARNING",
        text="Compiling model again due to a load failure from /c/model, reason: no such",
    )
    process = ProcessReport(pid=2, role="worker", rank=0, counters=COMPILED, messages=[message])
    assert whys(warmth_of(start(processes=[process]), [], [])) == [
        "/c/model was found and could not be loaded: no such"
    ]


def test_what_could_not_be_observed_is_listed() -> None:
    process = ProcessReport(pid=3, role="not observed", failed_probes={"process": "no reason"})
    found = warmth_of(start(processes=[process]), [], [], ["it failed"])
    assert found.unobserved == ["it failed", "process 3 (not observed): no reason"]
    assert found.processes == []


def test_a_cache_that_is_lost_is_a_further_reason_unless_the_start_was_warm() -> None:
    problem = "/c is on the container's own file system"
    assert whys(warmth_of(start(COMPILED), [], [entry("new", {})], (), problem))[1:] == [problem]
    assert whys(warmth_of(start(), [], [], (), problem)) == []


def test_a_process_that_failed_to_be_observed_does_not_matter_if_others_were() -> None:
    assert warmth_of(start(), [], [], ["no module named pydantic"]).unobserved == []


def test_replicas_with_the_same_rank_are_counted_by_themselves() -> None:
    processes = [
        ProcessReport(pid=1, rank=0, counters=COMPILED),
        ProcessReport(pid=2, rank=0, counters={LOADED: 3}),
    ]
    work = compiler_work(code_generations=3, code_generations_by_rank={0: 3}, traced_ranks=[0])
    found = warmth_of(start(processes=processes, compiler_work=work), [], [])
    assert [process.warmth for process in found.processes] == [Warmth.COLD, Warmth.WARM]
