from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from coldwarm.checks.invariants import Starts, check_invariants
from coldwarm.checks.known_issues import IssueSeen, accept_known_issues
from coldwarm.checks.verdict import context_of
from coldwarm.core.checks import Check
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.record import StartRecord
from tests.support.records import LOADED, SAVED, cold_record, known_issue, model_entry, warm_record


def one_too_many(saved: int = 4) -> tuple[StartRecord, StartRecord]:
    return cold_record(counters={SAVED: saved}), warm_record(counters={LOADED: saved})


def accept(records: tuple[StartRecord, StartRecord], *issues: dict[str, Any]) -> tuple[list[IssueSeen], list[Check]]:
    """Return the issues that were seen, and the failed checks."""
    cold, warm = records
    entry = model_entry(known_issue=[known_issue(**fields) for fields in issues])
    starts = Starts(cold, warm, entry)
    checks = check_invariants(starts)
    seen = accept_known_issues(checks, starts, entry, context_of(cold))
    return seen, [check for check in checks if not check.holds]


def test_a_failure_that_matches_a_known_issue_is_accepted() -> None:
    [issue], [failure] = accept(one_too_many(), {})
    assert issue.shows
    assert failure.id == InvariantId.ONLY_UNIQUE
    assert failure.accepted_by == issue.id == "one-too-many"
    assert (issue.link, issue.words) == ("https://example.org/issues/1", failure.words)


def test_a_failure_that_does_not_match_is_not_accepted() -> None:
    [issue], [failure] = accept(one_too_many(saved=9), {})
    assert issue.shows
    assert failure.accepted_by is None
    assert issue.words == f"does not match the known issue: cold {SAVED} is 9 instead of 4"


@pytest.mark.parametrize(
    "counters", [{"warm": {LOADED: 3}}, {"warm": {"vllm.gone": 0}}, {"cold": {SAVED: 4, LOADED: 1}}]
)
def test_every_counter_of_the_description_must_match(counters: dict[str, Any]) -> None:
    _, [failure] = accept(one_too_many(), counters)
    assert failure.accepted_by is None


def test_an_issue_that_does_not_occur_is_reported() -> None:
    [issue], failures = accept((cold_record(), warm_record()), {})
    assert not issue.shows
    assert failures == []
    assert issue.words.startswith("no longer occurs: cold start saved 3 artifacts")


@pytest.mark.parametrize(
    "when", [{"device": "cuda"}, {"compilation": "shipped"}, {"torch": ">=2.14"}, {"vllm": "<0.32"}]
)
def test_an_issue_of_another_platform_accepts_nothing(when: dict[str, str]) -> None:
    seen, [failure] = accept(one_too_many(), {"when": when})
    assert seen == []
    assert failure.accepted_by is None


def test_an_issue_accepts_only_its_own_invariant() -> None:
    records = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4, SAVED: 1})
    _, failures = accept(records, {})
    assert [(failure.id, failure.accepted_by) for failure in failures] == [
        (InvariantId.ONLY_UNIQUE, "one-too-many"),
        (InvariantId.SAVES_NOTHING, None),
    ]


def test_several_issues_accept_several_failures() -> None:
    records = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4, SAVED: 1})
    other = {"id": "saves-again", "breaks": "warm-saves-nothing", "cold": {}, "warm": {SAVED: 1}}
    seen, failures = accept(records, {}, other)
    assert [issue.shows for issue in seen] == [True, True]
    assert [failure.accepted_by for failure in failures] == ["one-too-many", "saves-again"]


@pytest.mark.parametrize("breaks", list(InvariantId)[:-1])
def test_an_issue_can_name_every_invariant_that_counters_can_break(breaks: InvariantId) -> None:
    [issue], _ = accept((cold_record(), warm_record()), {"breaks": breaks})
    assert not issue.shows


def test_an_issue_cannot_name_an_invariant_that_only_kernels_break() -> None:
    with pytest.raises(ValidationError, match="declare an issue of the engine"):
        known_issue(breaks=InvariantId.READY_NO_COMPILER)


SAVES_AGAIN = {
    "breaks": [InvariantId.SAVES_NOTHING, InvariantId.LOADS_ALL],
    "cold": {},
    "warm": {SAVED: 3, LOADED: 0},
}


def test_an_issue_can_accept_several_invariants_together() -> None:
    [issue], failures = accept((cold_record(), warm_record(counters={SAVED: 3, LOADED: 0})), SAVES_AGAIN)
    assert [failure.id for failure in failures] == SAVES_AGAIN["breaks"]
    assert {failure.accepted_by for failure in failures} == {issue.id}


def test_an_issue_of_several_invariants_accepts_none_if_one_of_them_passes() -> None:
    [issue], [failure] = accept((cold_record(), warm_record(counters={SAVED: 0, LOADED: 0})), SAVES_AGAIN)
    assert failure.id == InvariantId.LOADS_ALL
    assert failure.accepted_by is None
    assert issue.words.startswith("does not match the known issue: warm start saved 0 artifacts")


def test_an_issue_of_several_invariants_is_fixed_if_all_of_them_pass() -> None:
    [issue], failures = accept((cold_record(), warm_record()), SAVES_AGAIN)
    assert failures == []
    assert not issue.shows


def test_an_intermittent_issue_is_accepted_if_it_occurs_and_not_missed_otherwise() -> None:
    [issue], [failure] = accept(one_too_many(), {"intermittent": True})
    assert failure.accepted_by == issue.id
    assert accept((cold_record(), warm_record()), {"intermittent": True}) == ([], [])


@pytest.mark.parametrize(
    ("cold", "warm", "accepted"),
    [
        (["inductor/a.best_config", "inductor/a.py"], ["inductor/a.best_config"], True),
        (["inductor/a.best_config", "inductor/a.py"], ["inductor/a.py"], False),
        (["inductor/a.py"], ["inductor/a.best_config"], False),
        ([], [], False),
    ],
)
def test_an_issue_that_rewrites_files_is_accepted_only_if_they_are_rewritten(
    cold: list[str], warm: list[str], accepted: bool
) -> None:
    too_many = (
        cold_record(counters={SAVED: 4}, files_written=cold),
        warm_record(counters={LOADED: 4}, files_written=warm),
    )
    [issue], [failure] = accept(too_many, {"rewrites": "*.best_config"})
    assert failure.accepted_by == (issue.id if accepted else None)
    mismatch = "does not match the known issue: the warm start rewrote no *.best_config file"
    assert (issue.words == mismatch) == (not accepted)
