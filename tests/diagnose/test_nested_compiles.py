from __future__ import annotations

import pytest

from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.diagnose.frame_caches import Frame
from coldwarm.diagnose.nested_compiles import outside_findings
from coldwarm.trace.kinds import CacheEvent
from tests.support.explanations import cache_event, frame, location


def only(cold: list[Frame], warm: list[Frame]) -> Finding:
    [finding] = outside_findings(cold, warm)
    return finding


def fx(outcome: str) -> CacheEvent:
    return cache_event(outcome, layer="FX graph")


def test_a_function_that_missed_is_named_with_its_line_and_what_the_trace_says() -> None:
    found = only([], [frame(cache_event("miss", "k9", at=location(77)), seconds=2.0)])
    assert (found.kind, found.start, found.seconds) == (FindingKind.COMPILED_OUTSIDE, StartKind.WARM, 2.0)
    assert "torch.compile of sample (sampler.py:10), beside the engine's own compilation" in found.what
    assert found.where == "sampler.py:10"
    assert [(each.file, each.record) for each in found.evidence] == [
        ("warm.trace/rank_0.log", "line 77: AOTAutograd miss k9")
    ]


def test_a_key_that_was_seen_cold_was_not_kept() -> None:
    found = only([frame(cache_event("miss", "k1"))], [frame(cache_event("miss", "k1"))])
    assert found.details[0] == "of these keys, 1 of 1 were those of the cold start, whose results were not kept"


def test_a_key_that_was_not_seen_cold_is_new() -> None:
    found = only([frame(cache_event("miss", "k1"))], [frame(cache_event("miss", "k2"))])
    assert found.details[0] == "of these keys, 0 of 1 were those of the cold start"


def test_the_same_key_of_another_function_was_not_seen() -> None:
    found = only([frame(cache_event("miss", "k1"), function="other")], [frame(cache_event("miss", "k1"))])
    assert found.details[0].startswith("of these keys, 0 of 1 ")


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (["hit"], ["Inductor's FX graph cache had 1 of 1 that it was asked for"]),
        (["miss"], ["Inductor's FX graph cache had 0 of 1 that it was asked for"]),
        ([], []),
    ],
)
def test_what_the_fx_graph_cache_said_is_told(outcomes: list[str], words: list[str]) -> None:
    assert only([], [frame(cache_event(), *map(fx, outcomes))]).details[1:] == words


def test_compilations_of_one_function_are_one_finding() -> None:
    warm = [frame(cache_event("miss", f"k{number}", at=location(number))) for number in range(5)]
    found = only([frame(cache_event("miss", "k3"))], [*warm, frame(cache_event("hit", "k8"))])
    assert found.what.endswith("found nothing in AOTAutograd's cache, 5 of 6 times")
    assert found.details[0].startswith("of these keys, 1 of 5 ")
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


def test_functions_are_told_apart_by_their_line_in_the_order_in_which_they_missed() -> None:
    warm = [frame(cache_event(), source="b.py:1"), frame(cache_event(), source="a.py:1")]
    assert [found.where for found in outside_findings([], warm)] == ["b.py:1", "a.py:1"]


@pytest.mark.parametrize(
    "warm",
    [[], [frame(cache_event("hit"))], [frame(fx("miss"))], [frame()]],
    ids=["nothing", "hit", "not asked", "no event"],
)
def test_what_did_not_miss_is_not_found(warm: list[Frame]) -> None:
    assert outside_findings([frame(cache_event())], warm) == []


def test_a_bypass_counts_and_tells_its_reason() -> None:
    found = only([], [frame(cache_event("bypass", None, reason="unsafe op [bold]"))])
    assert "unsafe op [bold]" in found.details


def test_a_bypass_has_no_key_that_could_have_been_seen_cold() -> None:
    bypassed = frame(cache_event("bypass", None, reason="unsafe op"))
    found = only([bypassed], [bypassed])
    assert found.details == ["of these keys, 0 of 1 were those of the cold start", "unsafe op"]
    assert found.what.endswith("1 of 1 times (1 without a key)")


def test_a_function_whose_metrics_are_not_in_the_trace_is_told_all_the_same() -> None:
    found = only([], [frame(cache_event(), function=None, source=None)])
    assert "a function without a name (its source is not in the trace)" in found.what
    assert found.where is None
