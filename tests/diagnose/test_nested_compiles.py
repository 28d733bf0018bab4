from __future__ import annotations

import pytest

from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.diagnose.nested_compiles import outside_findings
from coldwarm.measure.frame_caches import Frame
from coldwarm.trace.kinds import CacheEvent
from tests.support.explanations import cache_event, frame, location


def only(cold: list[Frame], warm: list[Frame]) -> Finding:
    [finding] = outside_findings(cold, warm)
    return finding


def fx(outcome: str) -> CacheEvent:
    return cache_event(outcome, layer="FX graph")


def test_a_function_that_missed_is_named_with_its_line_and_its_records_in_the_trace() -> None:
    found = only([], [frame(cache_event("miss", "k9", at=location(77)), seconds=2.0)])
    assert (found.kind, found.start, found.seconds) == (FindingKind.COMPILED_OUTSIDE, StartKind.WARM, 2.0)
    assert "standalone torch.compile of sample (sampler.py:10) missed the AOTAutograd cache" in found.what
    assert found.where == "sampler.py:10"
    assert [(each.file, each.record) for each in found.evidence] == [
        ("warm.trace/rank_0.log", "line 77: AOTAutograd miss k9")
    ]


def test_a_key_that_the_cold_start_had_was_not_saved() -> None:
    found = only([frame(cache_event("miss", "k1"))], [frame(cache_event("miss", "k1"))])
    assert found.details[0] == "1 of 1 keys are the same as in the cold start, which did not save their results"


def test_a_key_that_the_cold_start_did_not_have_is_new() -> None:
    found = only([frame(cache_event("miss", "k1"))], [frame(cache_event("miss", "k2"))])
    assert found.details[0] == "0 of 1 keys are the same as in the cold start"


def test_the_same_key_of_a_different_function_does_not_count() -> None:
    found = only([frame(cache_event("miss", "k1"), function="other")], [frame(cache_event("miss", "k1"))])
    assert found.details[0].startswith("0 of 1 keys are ")


@pytest.mark.parametrize(
    ("outcomes", "details"),
    [
        (["hit"], ["1 of 1 lookups hit Inductor's FX graph cache"]),
        (["miss"], ["0 of 1 lookups hit Inductor's FX graph cache"]),
        ([], []),
    ],
)
def test_lookups_in_the_fx_graph_cache_are_reported(outcomes: list[str], details: list[str]) -> None:
    assert only([], [frame(cache_event(), *map(fx, outcomes))]).details[1:] == details


def test_compilations_of_one_function_are_one_finding() -> None:
    warm = [frame(cache_event("miss", f"k{number}", at=location(number))) for number in range(5)]
    found = only([frame(cache_event("miss", "k3"))], [*warm, frame(cache_event("hit", "k8"))])
    assert found.what.endswith("missed the AOTAutograd cache (5 of 6 compilations)")
    assert found.details[0].startswith("1 of 5 keys are ")
    assert [each.record for each in found.evidence] == [f"line {n}: AOTAutograd miss k{n}" for n in range(3)]


def test_a_function_costs_the_time_of_its_own_frames_that_missed() -> None:
    warm = [
        frame(cache_event("miss", "a"), seconds=1.5),
        frame(cache_event("hit", "b"), seconds=4.0),
        frame(cache_event("bypass", None), seconds=0.25),
        frame(cache_event("miss", "c"), seconds=None),
        frame(cache_event("miss", "d"), function="other", seconds=8.0),
    ]
    assert [found.seconds for found in outside_findings([], warm)] == [1.75, 8.0]


def test_a_cost_that_no_span_shows_is_unknown() -> None:
    assert only([], [frame(cache_event())]).seconds is None


def test_functions_are_distinguished_by_their_line_in_the_order_in_which_they_missed() -> None:
    warm = [frame(cache_event(), source="b.py:1"), frame(cache_event(), source="a.py:1")]
    assert [found.where for found in outside_findings([], warm)] == ["b.py:1", "a.py:1"]


@pytest.mark.parametrize(
    "warm",
    [[], [frame(cache_event("hit"))], [frame(fx("miss"))], [frame()]],
    ids=["nothing", "hit", "not asked", "no event"],
)
def test_functions_that_did_not_miss_are_not_reported(warm: list[Frame]) -> None:
    assert outside_findings([frame(cache_event())], warm) == []


def test_a_bypass_counts_as_a_miss_with_its_reason() -> None:
    found = only([], [frame(cache_event("bypass", None, reason="unsafe op [bold]"))])
    assert "unsafe op [bold]" in found.details


def test_a_bypass_has_no_key_to_compare() -> None:
    bypassed = frame(cache_event("bypass", None, reason="unsafe op"))
    found = only([bypassed], [bypassed])
    assert found.details == ["0 of 1 keys are the same as in the cold start", "unsafe op"]
    assert found.what.endswith("missed the AOTAutograd cache (1 of 1 compilations, 1 of them without a key)")


def test_a_function_whose_metrics_are_not_in_the_trace_is_reported_without_a_name() -> None:
    found = only([], [frame(cache_event(), function=None, source=None)])
    assert "a function without a name (its source is not in the trace)" in found.what
    assert found.where is None
