from __future__ import annotations

from dataclasses import replace

from coldwarm.core.depth import Depth
from coldwarm.core.finding import FindingKind
from coldwarm.diagnose.explanation import Explanation
from coldwarm.report.footnotes import footnotes
from tests.support.explanations import finding
from tests.support.records import cold_record, model_entry, warm_record
from tests.support.runs import crashed, passed, result_of, unsupported


def test_the_largest_number_of_parallel_starts_is_reported_once() -> None:
    results = [result_of(model_entry(), cold_record(side_by_side=n), warm_record()) for n in (1, 3, 2)]
    assert footnotes(results) == ["timings were measured with up to 3 starts running in parallel"]


def test_each_depth_reports_once_what_it_does_not_check() -> None:
    depths = (Depth.COUNT, Depth.FULL, Depth.TRACE, Depth.COUNT)
    results = [result_of(model_entry(), cold_record(depth=depth), None) for depth in depths]
    assert footnotes(results) == [
        f"--depth {depth} does not check {depth.level.not_checked}" for depth in (Depth.COUNT, Depth.TRACE)
    ]


def test_a_startup_cost_of_the_machine_is_reported_once() -> None:
    from_source = [
        finding(kind=FindingKind.IMPORTED_FROM_SOURCE, what=f"{seconds} s of modules", seconds=seconds, next="compile")
        for seconds in (12.0, 13.0, 11.0)
    ]
    results = [replace(passed(), explanation=Explanation(findings=[finding(), each])) for each in from_source]
    assert footnotes([crashed(), *results]) == ["13.0 s of modules (13.0 s per warm start); compile"]


def test_a_possible_fix_is_on_the_same_line() -> None:
    each = finding(kind=FindingKind.IMPORTED_FROM_SOURCE, what="a\nb", seconds=None, next=None)
    assert footnotes([replace(passed(), explanation=Explanation(findings=[each]))]) == ["a b"]


def test_a_suite_without_anything_to_note_has_no_footnotes() -> None:
    assert footnotes([passed(), crashed()]) == []
    assert footnotes([replace(unsupported(), case=unsupported().case.model_copy(update={"depth": Depth.COUNT}))]) == []
