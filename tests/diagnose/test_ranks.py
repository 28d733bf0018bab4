from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import Message, ProcessReport, StartKind, StartRecord
from coldwarm.diagnose.ranks import rank_findings
from tests.support.explanations import keys
from tests.support.records import (
    COLD_COUNTERS,
    LOADED,
    MISSES,
    SAVED,
    SEEN,
    WARM_COUNTERS,
    cold_facts,
    cold_record,
    compiler_work,
    warm_facts,
    warm_record,
)

SHARED = ("modules_layers_modules_0", "modules_layers_modules_1")
NOT_SAVED = {SAVED: 0, MISSES: 3}
COMPILES = {SAVED: 3, LOADED: 0, MISSES: 2}


def report(rank: int, counters: dict[str, int], layers: tuple[str, ...] = SHARED, **fields: Any) -> ProcessReport:
    configurations = dict.fromkeys(layers, 0)
    values = {"pid": 100 + rank, "rank": rank, "keys_digest": "same", "layer_configurations": configurations, **fields}
    return ProcessReport(counters={SEEN: 9, **counters}, **values)


def cold(*processes: ProcessReport) -> StartRecord:
    return cold_record(facts=cold_facts(processes=list(processes)))


def cold_counts(*counters: dict[str, int]) -> StartRecord:
    """Return a healthy cold start; `counters`, one set for each rank, override those of its ranks."""
    return cold(*(report(rank, {**COLD_COUNTERS, **own}) for rank, own in enumerate(counters)))


def warm_counts(*counters: dict[str, int], generations: dict[int, int] | None = None) -> StartRecord:
    """Return a healthy warm start in the same way."""
    processes = [report(rank, {**WARM_COUNTERS, **own}) for rank, own in enumerate(counters)]
    work = compiler_work(traced_ranks=[*range(len(counters))], code_generations_by_rank=generations or {})
    return warm_record(facts=warm_facts(processes=processes), compiler_work=work)


def only(record: StartRecord, known: dict[int, CacheKeys] | None = None, when: str = "") -> Finding:
    [finding] = rank_findings(record, known or {}, when=when)
    assert (finding.kind, finding.start) == (FindingKind.RANKS_DISAGREE, record.kind)
    return finding


def test_ranks_that_do_the_same_have_no_finding() -> None:
    same = {0: keys(), 1: keys()}
    # Both compile with the same keys at the same time: one finds what the other has just saved.
    assert rank_findings(cold_counts({MISSES: 4}, {MISSES: 0}), same) == []
    assert rank_findings(warm_counts({}, {}), same) == []
    assert rank_findings(warm_counts({}), {0: keys()}) == []


@pytest.mark.parametrize(
    ("counters", "difference"),
    [
        ({SEEN: 8}, "found 8 subgraphs instead of 9"),
        ({SAVED: 0}, "saved 0 artifacts instead of 3"),
        ({LOADED: 1}, "loaded 1 artifact instead of 0"),
        ({SAVED: 4, SEEN: 10}, "found 10 subgraphs instead of 9, saved 4 artifacts instead of 3"),
    ],
)
def test_the_rank_and_the_difference_are_named(counters: dict[str, int], difference: str) -> None:
    found = only(cold_counts({}, {}, counters), when="in the cold start")
    assert found.what == f"rank 2 differs from rank 0 in the cold start: {difference}"
    assert [each.file for each in found.evidence] == ["cold.json", "cold.json"]
    assert [each.record.split(":")[0] for each in found.evidence] == ["rank 0", "rank 2"]


def test_ranks_with_the_same_difference_have_one_finding() -> None:
    assert only(cold_counts({}, {SAVED: 4}, {SAVED: 4})).what.startswith("ranks 1, 2 differ from rank 0: saved 4 ")
    assert len(rank_findings(cold_counts({}, {SAVED: 4}, {SAVED: 5}), {})) == 2


@pytest.mark.parametrize(
    ("record", "difference"),
    [
        (
            warm_counts({}, COMPILES, generations={1: 2}),
            "saved 3 artifacts instead of 0, loaded 0 artifacts instead of 3, "
            "compiled (2 AOTAutograd cache misses, 2 code generations) while rank 0 waited",
        ),
        (
            warm_counts({MISSES: 1}, {}),
            "waited while rank 0 compiled (1 AOTAutograd cache miss, 0 code generations)",
        ),
        (
            warm_counts({}, {}, generations={1: 1}),
            "compiled (0 AOTAutograd cache misses, 1 code generation) while rank 0 waited",
        ),
    ],
)
def test_one_that_compiles_while_others_wait_is_named(record: StartRecord, difference: str) -> None:
    assert only(record).what == f"rank 1 differs from rank 0: {difference}"


def test_ranks_that_all_compile_do_not_disagree_about_misses() -> None:
    assert rank_findings(warm_counts({**COMPILES, MISSES: 1}, {**COMPILES, MISSES: 2}), {}) == []


def test_the_warnings_that_only_this_rank_has_are_details() -> None:
    both = Message(logger="vllm.compilation", level="WARNING", text="slow")
    own = Message(logger="vllm.compilation", level="WARNING", text="cannot save\nit", exception="OSError: read-only")
    found = only(
        cold(report(0, COLD_COUNTERS, messages=[both]), report(1, {**COLD_COUNTERS, **NOT_SAVED}, messages=[both, own]))
    )
    assert found.details == ["rank 1: WARNING: cannot save (OSError: read-only)"]


def test_only_ranks_of_the_same_part_of_the_model_are_compared() -> None:
    other_stage = {**COLD_COUNTERS, SEEN: 5, SAVED: 2}
    stages = [report(rank, COLD_COUNTERS) for rank in (0, 1)]
    stages += [report(2, other_stage, ("modules_layers_modules_2",), keys_digest="other")]
    assert rank_findings(cold(*stages), {0: keys(), 1: keys(), 2: keys(environment={"X": "2"})}) == []
    stages += [report(3, {**other_stage, SAVED: 1}, ("modules_layers_modules_2",), keys_digest="other")]
    assert only(cold(*stages)).what == "rank 3 differs from rank 2: saved 1 artifact instead of 2"


def test_replicas_with_the_same_rank_are_not_compared() -> None:
    replicas = [report(0, COLD_COUNTERS), report(1, COLD_COUNTERS)]
    replicas += [report(0, {**COLD_COUNTERS, SAVED: 1}), report(1, COLD_COUNTERS)]
    assert rank_findings(cold(*replicas), {}) == []


def test_components_of_keys_that_differ_are_named_with_their_values() -> None:
    record = cold(*(report(rank, COLD_COUNTERS, keys_digest=str(rank != 0)) for rank in range(4)))
    other, last = keys(environment={"VLLM_X": "2"}), keys(environment={"VLLM_X": ""})
    known = {0: keys(environment={"VLLM_X": "1"}), 1: other, 2: other, 3: last}
    first, second = rank_findings(record, known, when="in the cold start")
    assert first.what == "ranks have different cache keys, environment: VLLM_X is 1 in rank 0, 2 in ranks 1, 2"
    assert second.what == "ranks have different cache keys, environment: VLLM_X is 1 in rank 0, (empty) in rank 3"
    assert [(each.file, each.record) for each in second.evidence] == [
        ("cold.keys.json", "environment: VLLM_X = 1"),
        ("cold.rank-3.keys.json", "environment: VLLM_X = (empty)"),
    ]
    assert first.start is StartKind.COLD


def test_keys_of_which_the_components_are_unknown_are_still_a_finding() -> None:
    record = cold(report(0, COLD_COUNTERS, keys_digest="a"), report(1, COLD_COUNTERS, keys_digest="b"))
    assert only(record, {0: keys()}).what == (
        "rank 1 and rank 0 have different cache keys, and not all of their components were recorded"
    )


def test_keys_that_were_not_recorded_are_not_different() -> None:
    record = cold(report(0, COLD_COUNTERS, keys_digest="a"), report(1, COLD_COUNTERS, keys_digest=None))
    assert rank_findings(record, {0: keys()}) == []


def test_the_number_of_findings_on_keys_is_limited() -> None:
    record = cold(report(0, COLD_COUNTERS), report(1, COLD_COUNTERS))
    known = {rank: keys(environment={f"V{number}": str(rank) for number in range(14)}) for rank in (0, 1)}
    found = rank_findings(record, known)
    assert len(found) == 12
    assert found[-1].details == ["and 2 more components of the keys differ"]
