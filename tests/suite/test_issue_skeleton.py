from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from coldwarm.catalog import writing
from coldwarm.catalog.catalog import PACKAGED
from coldwarm.core.errors import UsageError
from coldwarm.core.finding import Finding
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.suite.issue_skeleton import issue_from
from coldwarm.suite.result import RunResult
from tests.support.records import (
    LOADED,
    MISSES,
    SAVED,
    catalog_model,
    cold_record,
    compiler_work,
    kernel_event,
    kernel_events,
    model_entry,
    warm_record,
)
from tests.support.runs import case_of

MINE = catalog_model(path=Path("mine/tiny.toml"))
NOT_SHARED = Finding(
    kind="not shared",
    start=StartKind.COLD,
    what="2 subgraphs compiled to 2 artifacts instead of 1",
    where="vllm/model_executor/models/tiny.py:12",
    code="x = a | b",
    details=["only in submod_2: a | b"],
    seconds=1.25,
    next="compute it outside",
)


def failed(cold: dict[str, int] | StartRecord, warm: dict[str, int] | StartRecord, *findings: Finding) -> RunResult:
    """Return the failed run with these starts, or with healthy ones with these counters."""
    result = RunResult.of(
        case_of(model_entry()),
        cold_record(counters=cold) if isinstance(cold, dict) else cold,
        warm_record(counters=warm) if isinstance(warm, dict) else warm,
        Explanation(findings=list(findings), notes=[]),
    )
    assert result.verdict.status == "failed"
    return result


def test_an_issue_accepts_what_the_run_breaks_and_its_page_has_the_finding() -> None:
    result = failed({SAVED: 5}, {LOADED: 5, MISSES: 2}, NOT_SHARED)
    skeleton, problems = issue_from(result, "one-too-many", MINE)
    assert skeleton is not None and problems == []
    issue = skeleton.issue
    assert (list(issue.breaks), issue.cold, issue.warm) == (
        ["cold-only-unique", "warm-no-compiler"],
        {SAVED: 5},
        {MISSES: 2},
    )
    assert (issue.title, issue.link) == (NOT_SHARED.what, "known-issues/one-too-many.md")
    assert skeleton.page == Path("mine/known-issues/one-too-many.md")
    lines = skeleton.text.splitlines()
    assert lines[:3] == ["# one-too-many", "", f"**{NOT_SHARED.what}**"]
    for line in (
        f"| symptom | `cold.{SAVED}` = 5, `warm.{MISSES}` = 2 |",
        "| conditions | cpu, piecewise, torch ~=2.13.0, vllm ~=0.32.0 |",
        "| cost | 1.2 s of each cold start |",
        "It is caused by `vllm/model_executor/models/tiny.py:12`.",
        "x = a | b",
        "- only in submod_2: a | b",
        "Compute it outside.",
    ):
        assert line in lines
    other = failed({SAVED: 6}, {LOADED: 6, MISSES: 2}, NOT_SHARED)
    entry = model_entry(known_issue=[issue])
    assert RunResult.of(case_of(entry), result.cold, result.warm).verdict.status == "known issue"
    assert RunResult.of(case_of(entry), other.cold, other.warm).verdict.status == "failed"


def test_an_issue_that_is_tracked_elsewhere_has_no_page() -> None:
    skeleton, _ = issue_from(failed({SAVED: 5}, {LOADED: 5}), "one-too-many=https://example.org/1?a=b", MINE)
    assert skeleton is not None
    assert (skeleton.issue.link, skeleton.page) == ("https://example.org/1?a=b", None)


def test_an_issue_of_the_packaged_catalog_has_a_page_in_the_documentation() -> None:
    packaged = dataclasses.replace(MINE, path=PACKAGED / "tiny.toml")
    skeleton, _ = issue_from(failed({SAVED: 5}, {LOADED: 5}), "one-too-many", packaged)
    assert skeleton is not None and skeleton.page is not None
    assert skeleton.issue.link == "docs/known-issues/one-too-many.md"
    assert skeleton.page.parent.samefile(Path(writing.__file__).parents[3] / "docs" / "known-issues")


OTHER_TOKENS = warm_record().model_copy(
    update={"facts": warm_record().facts.model_copy(update={"generated": []})}  # type: ignore[union-attr]
)


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (failed({SAVED: 0}, {LOADED: 0}), "never accepted as known, because a start that compiled nothing"),
        (failed({}, OTHER_TOKENS), "never accepted as known, because a wrong artifact may have been loaded"),
        (
            failed({}, warm_record(compiler_work=compiler_work(code_generations=2))),
            "no counter identifies it, so it has to be declared by hand",
        ),
        (
            failed(
                cold_record(kernels=kernel_events(kernel_event())),
                warm_record(kernels=kernel_events(kernel_event())),
            ),
            "no counter identifies kernels; declare an issue of the engine in known_issues.toml",
        ),
    ],
)
def test_some_failures_cannot_be_declared(result: RunResult, problem: str) -> None:
    skeleton, problems = issue_from(result, "x", MINE)
    assert skeleton is None
    assert any(problem in each for each in problems), problems


def test_an_id_must_be_usable_as_a_name() -> None:
    with pytest.raises(UsageError, match=r"--known-issue \.\./x: an id has "):
        issue_from(failed({SAVED: 5}, {LOADED: 5}), "../x", MINE)
