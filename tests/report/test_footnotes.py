from __future__ import annotations

from dataclasses import replace

from coldwarm.core.depth import DOES_NOT_PROVE, Depth
from coldwarm.core.finding import FindingKind
from coldwarm.diagnose.explanation import Explanation
from coldwarm.report.footnotes import footnotes
from tests.support.explanations import finding
from tests.support.records import cold_record, model_entry, warm_record
from tests.support.runs import crashed, passed, result_of, unsupported


def test_times_under_load_are_told_once_with_the_most_at_a_time() -> None:
    results = [result_of(model_entry(), cold_record(side_by_side=n), warm_record()) for n in (1, 3, 2)]
    assert footnotes(results) == ["times are under load: up to 3 starts ran at a time"]


def test_each_depth_says_once_what_it_does_not_prove() -> None:
    depths = (Depth.COUNT, Depth.FULL, Depth.TRACE, Depth.COUNT)
    results = [result_of(model_entry(), cold_record(depth=depth), None) for depth in depths]
    assert footnotes(results) == [
        f"--depth {depth} does not prove {DOES_NOT_PROVE[depth]}" for depth in (Depth.COUNT, Depth.TRACE)
    ]


def test_what_the_machine_costs_every_start_is_told_once() -> None:
    from_source = [
        finding(kind=FindingKind.IMPORTED_FROM_SOURCE, what=f"{seconds} s of modules", seconds=seconds, next="compile")
        for seconds in (12.0, 13.0, 11.0)
    ]
    results = [replace(passed(), explanation=Explanation(findings=[finding(), each])) for each in from_source]
    assert footnotes([crashed(), *results]) == ["13.0 s of modules (13.0 s at each warm start); compile"]


def test_the_way_out_is_told_where_there_is_one_and_on_the_same_line() -> None:
    each = finding(kind=FindingKind.IMPORTED_FROM_SOURCE, what="a\nb", seconds=None, next=None)
    assert footnotes([replace(passed(), explanation=Explanation(findings=[each]))]) == ["a b"]


def test_a_quiet_suite_of_all_depths_has_none() -> None:
    assert footnotes([passed(), crashed()]) == []
    assert footnotes([replace(unsupported(), case=unsupported().case.model_copy(update={"depth": Depth.COUNT}))]) == []
