"""Comparing verdicts, counts, key components and findings, and what makes a comparison fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coldwarm.checks.verdict import Status
from coldwarm.comparison.compare import FailOn, SidesComparison, compare_sides
from coldwarm.comparison.exact import Direction
from coldwarm.comparison.sides import NOT_LOADED, Side
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import ProcessReport, StartKind
from coldwarm.diagnose.explanation import Explanation
from coldwarm.report.comparison_json import comparison_as_json
from coldwarm.report.comparison_view import answer, comparison_as_markdown
from coldwarm.report.html.comparison import render_comparison
from coldwarm.suite.result import RunResult
from tests.support.records import (
    COLD_COUNTERS,
    LOADED,
    MISSES,
    SAVED,
    WARM_COUNTERS,
    cold_record,
    known_issue,
    model_entry,
    unfinished_record,
    warm_record,
)
from tests.support.repeated import side
from tests.support.runs import case_of, unsupported

ALL = tuple(FailOn)
STARTS = [20.0, 20.1, 20.2, 20.3, 20.4]


def run(cold: dict[str, int] | None = None, warm: dict[str, int] | None = None, *findings: Finding) -> RunResult:
    explanation = Explanation(findings=list(findings))
    return RunResult.of(
        case_of(model_entry(id="tiny")), cold_record(counters=cold), warm_record(counters=warm), explanation
    )


def compared(before: RunResult | Side, after: RunResult | Side, **more: Any) -> SidesComparison:
    old, new = ({"tiny": each if isinstance(each, Side) else Side([each])} for each in (before, after))
    return compare_sides(old, new, **more)


def counts(comparison: SidesComparison) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], Direction]]:
    return {each.name: (each.before, each.after, each.direction) for each in comparison.runs[0].counts}


def finding(what: str = "one subgraph too many", **fields: Any) -> Finding:
    return Finding(kind=FindingKind.NOT_SHARED, start=StartKind.COLD, what=what, **fields)


def test_more_compiler_work_is_worse_and_less_is_better() -> None:
    more, less = run({SAVED: 4, MISSES: 5}, {LOADED: 4}), run()
    assert counts(compared(less, more)) == {
        "cold saved": ((3,), (4,), Direction.WORSE),
        "cold AOTAutograd misses": ((4,), (5,), Direction.WORSE),
        "warm loaded": ((3,), (4,), Direction.NEITHER),
    }
    assert counts(compared(more, less))["cold saved"] == ((4,), (3,), Direction.BETTER)
    assert compared(less, more).exit_code([FailOn.COUNTS]) is ExitCode.FAILED
    assert compared(more, less).exit_code([FailOn.COUNTS]) is ExitCode.HEALTHY


def test_an_artifact_that_is_not_loaded_any_more_is_worse() -> None:
    found = counts(compared(run(), run(warm={LOADED: 2})))
    assert found[NOT_LOADED] == ((0,), (1,), Direction.WORSE)


def of_ranks(*ranks: int, saved: int = 3, loaded: int = 3) -> RunResult:
    """Return a run whose starts have these ranks, each with the same counts."""
    cold, warm = (
        [ProcessReport(pid=100 + rank, rank=rank, counters=counters) for rank in ranks]
        for counters in ({**COLD_COUNTERS, SAVED: saved}, {**WARM_COUNTERS, LOADED: loaded})
    )
    return RunResult.of(
        case_of(model_entry(id="tiny")), cold_record(processes=cold), warm_record(processes=warm), Explanation()
    )


@pytest.mark.parametrize(("saved", "direction"), [(4, Direction.WORSE), (2, Direction.BETTER)])
def test_the_only_rank_of_one_side_is_compared_with_rank_0_of_several(saved: int, direction: Direction) -> None:
    one, two = of_ranks(0), of_ranks(0, 1, saved=saved, loaded=saved)
    comparison = compared(one, two)
    assert counts(comparison)["cold saved of rank 0"] == ((3,), (saved,), direction)
    assert counts(comparison)["cold saved of rank 1"] == ((), (saved,), Direction.NEITHER)
    assert (FailOn.COUNTS in comparison.regressions()) == (direction is Direction.WORSE)
    assert counts(compared(two, one))["cold saved of rank 0"][:2] == ((saved,), (3,))
    assert comparison.uncounted() == []


def test_more_ranks_that_do_not_load_the_same_artifact_are_not_worse() -> None:
    one, two = of_ranks(0, loaded=2), of_ranks(0, 1, loaded=2)
    assert counts(compared(one, two))[NOT_LOADED] == ((1,), (2,), Direction.NEITHER)
    assert counts(compared(of_ranks(0), two))[NOT_LOADED] == ((0,), (2,), Direction.WORSE)
    assert counts(compared(of_ranks(0, 1), two))[NOT_LOADED] == ((0,), (2,), Direction.WORSE)


def test_counts_that_could_not_be_compared_are_not_healthy() -> None:
    comparison = compared(of_ranks(1, 2), of_ranks(0))
    assert comparison.regressions() == set() and len(comparison.uncounted()) == 1
    assert comparison.exit_code([FailOn.COUNTS]) is ExitCode.USAGE
    assert comparison.exit_code([FailOn.COUNTS, FailOn.FINDINGS]) is ExitCode.USAGE
    assert comparison.exit_code([FailOn.FINDINGS]) is ExitCode.HEALTHY
    assert answer(comparison, [FailOn.COUNTS])[0] == (
        "No regression of findings in 1 run; counts could not be compared."
    )
    text = comparison_as_markdown(comparison, Path(), title="Changes")
    assert "### Counts\n" in text and "Not comparable: tiny: the two sides have no count in common." in text
    assert "Not comparable: the two sides have no count" in render_comparison(comparison, names=("a", "b"))
    assert not json.loads(comparison_as_json(comparison, ExitCode.USAGE))["runs"][0]["counts_comparable"]


def test_repetitions_that_differ_show_all_of_their_counts() -> None:
    case = case_of(model_entry(id="tiny"))
    pairs = [(cold_record(counters={SAVED: saved}), warm_record(counters={LOADED: saved}), None) for saved in (3, 2)]
    varying = RunResult.of_repetitions(case, pairs)
    assert counts(compared(run(), varying))["cold saved"] == ((3,), (2, 3), Direction.NEITHER)


@pytest.mark.parametrize(
    ("before", "after", "exit_code"),
    [
        ((), (finding(),), ExitCode.FAILED),
        ((finding(),), (), ExitCode.HEALTHY),
        # Only numbers differ, which vary from run to run.
        ((finding("took 1.5 s in submod_4"),), (finding("took 2 s in submod_8"),), ExitCode.HEALTHY),
        ((finding(kernel="Triton a"),), (finding(kernel="Triton b"),), ExitCode.FAILED),
    ],
)
def test_a_new_finding_is_a_regression(
    before: tuple[Finding, ...], after: tuple[Finding, ...], exit_code: ExitCode
) -> None:
    comparison = compared(run(None, None, *before), run(None, None, *after))
    assert comparison.exit_code([FailOn.FINDINGS]) is exit_code


def test_a_verdict_that_got_worse_is_a_regression() -> None:
    comparison = compared(run(), run(warm={SAVED: 1, LOADED: 2}))
    assert comparison.regressions() == {FailOn.COUNTS, FailOn.FINDINGS}
    back = compared(run(warm={SAVED: 1, LOADED: 2}), run())
    assert back.regressions() == set()


def test_what_a_crash_does_not_show_is_neither_new_nor_gone() -> None:
    issue = known_issue()
    case = case_of(model_entry(id="tiny", known_issue=[issue]))
    records = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4})
    shown = RunResult.of(case, *records, Explanation(findings=[finding()]))
    assert shown.verdict.status is Status.KNOWN_ISSUE
    crashed = RunResult.of(case, unfinished_record(), None, Explanation())
    fixed = compared(crashed, shown)
    assert fixed.regressions() == set() and fixed.runs[0].findings == []
    assert not fixed.measured and fixed.exit_code(ALL) is ExitCode.USAGE
    assert [change.how for change in fixed.verdicts.changes] == ["gone"], "only the crash"
    broke = compared(shown, crashed)
    assert broke.runs[0].findings == []
    assert [change.how for change in broke.verdicts.changes] == ["new"], "only the crash"
    still = compared(crashed, run({SAVED: 5}, {LOADED: 5}))
    assert [change.how for change in still.verdicts.changes] == ["changed"]
    assert still.regressions() == set()


def test_the_findings_of_a_start_that_did_not_finish_are_unknown() -> None:
    case = case_of(model_entry(id="tiny"))
    found = Finding(kind=FindingKind.UNEXPLAINED, start=StartKind.WARM, what="slow")
    halfway = RunResult.of(case, cold_record(), unfinished_record(kind=StartKind.WARM), Explanation())
    assert compared(halfway, run(None, None, found)).runs[0].findings == []
    [change] = compared(halfway, run(None, None, found, finding())).runs[0].findings
    assert change.finding == finding()


@pytest.mark.parametrize("explanation", [None, Explanation(failed=True)])
def test_without_an_explanation_the_lack_of_findings_means_nothing(explanation: Explanation | None) -> None:
    unexplained = RunResult.of(case_of(model_entry(id="tiny")), cold_record(), warm_record(), explanation)
    with_finding = run(None, None, finding())
    assert compared(with_finding, unexplained).runs[0].findings == []
    assert compared(unexplained, with_finding).runs[0].findings == []
    [change] = compared(Side([run(), unexplained]), with_finding).runs[0].findings
    assert change.direction is Direction.WORSE, "one explained run is enough"


def test_the_components_of_cache_keys_are_compared() -> None:
    def keyed(**variables: str) -> Side:
        return Side([run()], {StartKind.COLD: CacheKeys(factors={"environment": variables})})

    [comparison] = compared(keyed(A="1", B="2"), keyed(A="1", B="3")).runs
    assert [(each.name, each.cold, each.warm) for each in comparison.keys or []] == [("B", "2", "3")]
    own, others = keyed(A="/tmp/coldwarm-x64lb3pc/tiny/model"), keyed(A="/tmp/coldwarm-3x29bzlb/tiny-repeat-2/model")
    assert compared(own, others).runs[0].keys == [], "the temporary folder is another one in each run"
    [unrecorded] = compared(run(), keyed()).runs
    assert unrecorded.keys is None


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        ("/tmp/coldwarm-x64lb3pc/tiny/model", "/home/my user/t/coldwarm-3x29bzlb/tiny/model", True),
        ("/tmp/coldwarm-x64lb3pc/tiny", "/tmp/coldwarm-3x29bzlb/tiny", True),
        ("['/a b/coldwarm-x64lb3pc/tiny/c']", "['/d/coldwarm-3x29bzlb/tiny/c']", True),
        ("/usr/lib:/tmp/coldwarm-x64lb3pc/tiny/c", "/opt/lib:/tmp/coldwarm-3x29bzlb/tiny/c", False),
        ("/usr/lib:/tmp/coldwarm-x64lb3pc/tiny/c", "/usr/lib:/var/tmp/coldwarm-3x29bzlb/tiny/c", True),
        ("/bin/cc -I/tmp/coldwarm-x64lb3pc/tiny/c", "/bin/clang -I/tmp/coldwarm-3x29bzlb/tiny/c", False),
        ("/bin/cc /tmp/coldwarm-x64lb3pc/tiny/c", "/bin/clang /tmp/coldwarm-3x29bzlb/tiny/c", False),
        ("/a,path=/tmp/coldwarm-x64lb3pc/tiny/c", "/b,path=/tmp/coldwarm-3x29bzlb/tiny/c", False),
        ("/tmp/coldwarm-x64lb3pc/tiny/c", "/tmp/coldwarm-3x29bzlb/tiny/d", False),
    ],
)
def test_only_the_temporary_folder_is_left_out_of_a_component(before: str, after: str, is_same: bool) -> None:
    sides = (
        Side([run()], {StartKind.COLD: CacheKeys(factors={"environment": {"A": value}})}) for value in (before, after)
    )
    assert (compared(*sides).runs[0].keys == []) is is_same


def test_settings_that_differ_are_listed() -> None:
    case = case_of(model_entry(id="tiny"), options={"a": {"b": 1}})
    other = RunResult.of(case, cold_record(options={"a": {"b": 1}}), warm_record(options={"a": {"b": 1}}))
    assert compared(run(), other).runs[0].settings == {"option a.b": (None, "1")}


def test_the_order_of_starts_is_no_condition() -> None:
    def isolated(*how: IsolationKind) -> Side:
        case = case_of(model_entry(id="tiny"))
        return Side([RunResult.of(case, cold_record(isolation=each), warm_record(isolation=each)) for each in how])

    both = compared(
        isolated(IsolationKind.SPAWN, IsolationKind.FORK), isolated(IsolationKind.FORK, IsolationKind.SPAWN)
    )
    assert both.runs[0].conditions == []
    one = compared(isolated(IsolationKind.SPAWN, IsolationKind.FORK), isolated(IsolationKind.FORK))
    assert one.runs[0].conditions == ["isolation: fork and spawn, now fork"]


def test_time_fails_only_if_it_is_asked_for() -> None:
    comparison = compared(side(STARTS), side([each * 1.3 for each in STARTS]))
    assert comparison.regressions() == {FailOn.TIME}
    assert comparison.exit_code(ALL) is ExitCode.FAILED
    assert comparison.exit_code([FailOn.COUNTS, FailOn.FINDINGS]) is ExitCode.HEALTHY


def test_not_enough_starts_to_tell_is_not_healthy() -> None:
    comparison = compared(side(STARTS[:3]), side(STARTS[:3]))
    assert comparison.exit_code(ALL) is ExitCode.USAGE
    assert comparison.exit_code([FailOn.COUNTS, FailOn.FINDINGS]) is ExitCode.HEALTHY
    assert compared(side(STARTS), side(STARTS)).exit_code(ALL) is ExitCode.HEALTHY


def test_a_regression_comes_before_not_enough_starts() -> None:
    assert compared(run(), run({SAVED: 4}, {LOADED: 4})).exit_code(ALL) is ExitCode.FAILED


def test_nothing_measured_is_not_healthy() -> None:
    nothing = compare_sides({"one": Side([run()])}, {"two": Side([run()])})
    assert nothing.runs == [] and nothing.exit_code([FailOn.COUNTS]) is ExitCode.USAGE
    refused = compared(unsupported("tiny"), unsupported("tiny"))
    assert not refused.measured and refused.exit_code([FailOn.COUNTS]) is ExitCode.USAGE
    assert refused.exit_code([]) is ExitCode.HEALTHY


def test_a_crash_and_an_unfinished_suite_have_the_exit_code_of_a_crash() -> None:
    crashed = RunResult.of(case_of(model_entry(id="tiny")), unfinished_record(), None)
    assert compared(run(), crashed).exit_code(ALL) is ExitCode.CRASHED
    assert compared(run(), run(), not_started=["b"]).exit_code([FailOn.COUNTS]) is ExitCode.CRASHED
    assert compared(crashed, run()).exit_code([FailOn.COUNTS]) is not ExitCode.CRASHED
