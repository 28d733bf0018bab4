"""What a verdict says at each depth."""

from __future__ import annotations

from typing import Any

import pytest

from coldwarm.checks.verdict import Status, Verdict, judge
from coldwarm.core.depth import Depth
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import StartRecord
from tests.support.records import (
    LOADED,
    MISSES,
    SAVED,
    cold_record,
    compiler_work,
    expectation,
    generated_tokens,
    known_issue,
    model_entry,
    warm_facts,
    warm_record,
)

SUBGRAPHS = "vllm.num_piecewise_capturable_graphs_seen"


def traced(unique: int = 3, **fields: Any) -> StartRecord:
    work = compiler_work(subgraphs_compiled=9, subgraphs_unique=unique)
    counters = {SAVED: 0, SUBGRAPHS: 9}
    return cold_record(depth=Depth.TRACE, compiler_work=work, counters=counters, **fields)


def counted(entry: ModelEntry | None = None, **counters: dict[str, int]) -> Verdict:
    warm = warm_record(
        depth=Depth.COUNT, facts=warm_facts(counters=counters.get("warm"), generated=generated_tokens(3))
    )
    return judge(entry or model_entry(), cold_record(depth=Depth.COUNT, counters=counters.get("cold")), warm)


def test_a_trace_is_judged_by_its_unique_subgraphs() -> None:
    verdict = judge(model_entry(), traced(), None)
    assert verdict.status is Status.PASSED
    assert [check.id for check in verdict.checks] == [InvariantId.COMPILES, InvariantId.ONLY_UNIQUE]
    verdict = judge(model_entry(), traced(4), None)
    assert verdict.status is Status.FAILED
    assert "cold start found 4 unique subgraphs (expected at most 3" in verdict.reasons[0]


@pytest.mark.parametrize("cold", [traced(0), traced(caches_as_left=False)])
def test_a_trace_of_nothing_or_with_filled_caches_fails(cold: StartRecord) -> None:
    assert judge(model_entry(), cold, None).status is Status.FAILED


def test_a_trace_is_compared_with_the_expected_saved_artifacts() -> None:
    entry = model_entry(expect=[expectation(cold={SAVED: 2, SUBGRAPHS: 9, MISSES: 4}, warm={LOADED: 2})])
    verdict = judge(entry, traced(), None)
    assert verdict.reasons == [f"cold: {SAVED} expected 2, got 3"]


def test_a_trace_can_show_a_known_issue_of_sharing_but_not_of_loading() -> None:
    sharing = known_issue(breaks=InvariantId.ONLY_UNIQUE, cold={SAVED: 4})
    loading = known_issue(id="loading", breaks=InvariantId.LOADS_ALL, warm={LOADED: 0})
    verdict = judge(model_entry(known_issue=[sharing, loading]), traced(4), None)
    assert (verdict.status, [issue.id for issue in verdict.issues]) == (Status.KNOWN_ISSUE, [sharing.id])


@pytest.mark.parametrize("depth", [Depth.COUNT, Depth.FULL])
def test_other_depths_need_a_warm_start(depth: Depth) -> None:
    assert judge(model_entry(), cold_record(depth=depth), None).status is Status.ERROR


def test_starts_of_different_depths_are_not_from_the_same_run() -> None:
    verdict = judge(model_entry(), cold_record(depth=Depth.COUNT), warm_record())
    assert (verdict.status, "depth count cold, full warm" in verdict.reasons[0]) == (Status.ERROR, True)


def test_without_kernels_outputs_are_not_compared() -> None:
    verdict = counted()
    assert verdict.status is Status.PASSED
    assert InvariantId.SAME_OUTPUT not in [check.id for check in verdict.checks]
    assert counted(warm={SAVED: 1}).status is Status.FAILED


def test_without_kernels_vllms_counters_are_compared_and_pytorchs_are_not() -> None:
    entry = model_entry(expect=[expectation(cold={SAVED: 3, MISSES: 25}, warm={LOADED: 3})])
    assert counted(entry).status is Status.PASSED
    entry = model_entry(expect=[expectation(cold={SAVED: 2}, warm={LOADED: 3})])
    assert counted(entry).reasons == [f"cold: {SAVED} expected 2, got 3"]


def test_without_kernels_an_issue_of_compilation_within_a_kernel_is_not_missed() -> None:
    within = known_issue(breaks=InvariantId.NO_COMPILER, cold={}, warm={MISSES: 18})
    assert counted(model_entry(known_issue=[within])).status is Status.PASSED
    assert judge(model_entry(known_issue=[within]), cold_record(), warm_record()).status is Status.UNEXPECTEDLY_FIXED


def test_a_known_issue_is_identified_by_the_counters_that_the_depth_reports() -> None:
    issue = known_issue(breaks="warm-saves-nothing", cold={}, warm={SAVED: 1, MISSES: 18})
    verdict = counted(model_entry(known_issue=[issue]), warm={SAVED: 1, LOADED: 3, MISSES: 0})
    assert verdict.status is Status.KNOWN_ISSUE


def test_a_trace_cannot_show_a_known_issue_of_rewritten_files() -> None:
    issue = known_issue(rewrites="*.best_config", cold={})
    assert judge(model_entry(known_issue=[issue]), traced(4), None).status is Status.FAILED
