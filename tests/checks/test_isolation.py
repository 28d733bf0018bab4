from __future__ import annotations

import pytest

from coldwarm.checks.verdict import Status, Verdict, judge
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import StartRecord
from coldwarm.core.seen_in_process import OutsideUse
from tests.support.records import SAVED, cold_record, expectation, known_issue, model_entry, warm_record

ENTRY = model_entry(expect=[expectation()])


def verdict_on(cold: StartRecord, warm: StartRecord) -> Verdict:
    return judge(ENTRY, cold, warm)


def test_starts_that_use_only_their_own_caches_have_no_notes() -> None:
    verdict = verdict_on(cold_record(), warm_record())
    assert (verdict.status, verdict.notes) == (Status.PASSED, [])


@pytest.mark.parametrize(
    ("use", "description"),
    [
        (OutsideUse(caches_written=["/c/a", "/c/b"]), "wrote /c/a, /c/b"),
        (OutsideUse(caches_read=["/c/a"]), "read /c/a"),
        (OutsideUse(caches_written=["/c/a"], caches_read=["/c/b"]), "wrote /c/a and read /c/b"),
        (OutsideUse(caches_written=[f"/c/{n}" for n in range(5)]), "wrote /c/0, /c/1, /c/2 and 2 more"),
    ],
)
def test_a_cold_start_that_used_a_cache_of_the_user_fails(use: OutsideUse, description: str) -> None:
    verdict = verdict_on(cold_record(outside=use), warm_record())
    assert verdict.status is Status.FAILED
    [broken] = [check for check in verdict.checks if not check.holds]
    assert broken.id == InvariantId.COMPILES
    assert description in broken.words
    assert verdict.reasons == [broken.words]


def test_no_known_issue_accepts_a_cold_start_that_used_a_cache_of_the_user() -> None:
    issue = known_issue(breaks="cold-compiles", cold={SAVED: 0})
    entry = model_entry(known_issue=[issue])
    warm = warm_record(counters={"vllm.num_compiled_artifacts_loaded": 0})
    nothing = cold_record(counters={SAVED: 0})
    used = cold_record(counters={SAVED: 0}, outside=OutsideUse(caches_read=["/c/a"]))
    accepted = [
        {check.id: check.accepted_by for check in judge(entry, cold, warm).checks}["cold-compiles"]
        for cold in (nothing, used)
    ]
    assert accepted == [issue.id, None]


def test_a_warm_start_that_used_a_cache_of_the_user_is_noted() -> None:
    warm = warm_record(outside=OutsideUse(caches_written=["/c/a"], caches_read=["/c/b"]))
    verdict = verdict_on(cold_record(), warm)
    assert verdict.status is Status.PASSED
    assert verdict.notes == ["the warm start used caches that are not its own: /c/a, /c/b"]


def test_other_files_and_changes_by_other_processes_are_noted() -> None:
    use = OutsideUse(written=["/tmp/log"])
    cold = cold_record(outside=use, changed_outside=["/c/a", "/tmp/log"], not_compared=["/c"])
    verdict = verdict_on(cold, warm_record(not_compared=["/c"]))
    assert verdict.status is Status.PASSED
    assert verdict.notes == [
        "the cold start wrote files outside its own folders: /tmp/log",
        "files in the user's own caches changed while the cold start ran, not necessarily because of it: /c/a",
        "too many files to check for changes: /c",
    ]


def test_a_variable_that_may_name_a_cache_is_noted_once() -> None:
    records = [make(unknown_cache_variables=["MYLIB_CACHE_DIR"]) for make in (cold_record, warm_record)]
    verdict = verdict_on(*records)
    assert verdict.status is Status.PASSED
    [note] = verdict.notes
    assert note.startswith("MYLIB_CACHE_DIR looks like a cache folder that coldwarm does not know")


@pytest.mark.parametrize("kind", ["cold", "warm"])
def test_starts_that_changed_a_shared_cache_are_an_error(kind: str) -> None:
    cold, warm = (
        make(shared_caches_changed=["triton/kernel"] if own == kind else [], isolation=IsolationKind.FORK)
        for own, make in (("cold", cold_record), ("warm", warm_record))
    )
    verdict = verdict_on(cold, warm)
    assert verdict.status is Status.ERROR
    [reason] = verdict.reasons
    assert reason.startswith(f"the {kind} start was forked")
    assert "triton/kernel" in reason and "--isolation spawn" in reason
