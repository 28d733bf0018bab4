"""Runs with several repetitions: `coldwarm run --repeat N`."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.verdict import Status
from coldwarm.core.record import StartKind
from coldwarm.report.summary import RunSummary, SuiteSummary
from coldwarm.store.suite_folder import Store, keep_records, read_runs
from coldwarm.suite.acceptance import Decision, accept
from coldwarm.suite.observer import SilentObserver
from coldwarm.suite.result import RunResult
from coldwarm.suite.runner import Runner
from coldwarm.suite.stored import explain_stored, judge_stored
from tests.support.records import LOADED, SAVED, cold_record, model_entry, tiny_config, warm_record
from tests.support.repeated import repeated
from tests.support.runs import case_of
from tests.support.stored import stored


def run_of(*loaded: int) -> RunResult:
    """Return a run whose repetitions load so many of 3 artifacts."""
    pairs = [(cold_record(seconds=20.0 + each), warm_record(counters={LOADED: each}), None) for each in loaded]
    return RunResult.of_repetitions(case_of(model_entry(), repeat=len(loaded)), pairs)


@pytest.mark.usefixtures("fake_engine")
def test_each_repetition_is_a_run_with_caches_of_its_own(tmp_path: Path) -> None:
    case = case_of(model_entry(id="a"), engine="fake", config=tiny_config(), repeat=3)
    runner = Runner(Store.create(tmp_path / "suite", ["a"]), SilentObserver(), time_limit=30)
    runner.run([case])
    [result] = runner.results
    assert result.verdict.status is Status.PASSED, result.verdict.reasons
    assert [each.number for each in result.repetitions] == [1, 2, 3]
    for each in result.repetitions:
        assert each.cold is not None and each.warm is not None
        assert each.cold.caches_before == {} and each.warm.caches_before == each.cold.caches_after
    [run] = read_runs(tmp_path / "suite")
    assert [each.folder for each in run.all_repetitions] == [
        tmp_path / "suite" / "a",
        tmp_path / "suite" / "a" / "repeat-2",
        tmp_path / "suite" / "a" / "repeat-3",
    ]
    for repetition in run.all_repetitions:
        assert {path.name for path in repetition.folder.iterdir()} >= {
            *("case.json", "verdict.json", "explanation.json"),
            *(f"{kind}.{suffix}" for kind in StartKind for suffix in ("json", "log", "trace", "keys.json")),
        }
    [again] = judge_stored(tmp_path / "suite", Catalog.read())
    assert again.verdict == result.verdict and len(again.records) == 6


def test_the_worst_repetition_decides_and_the_others_are_named() -> None:
    result = run_of(3, 2, 3)
    assert (result.verdict.status, result.number) == (Status.FAILED, 2)
    assert result.verdict.reasons == [
        "in repetition 2 of 3: warm start loaded 2 of 3 artifacts saved by the cold start"
    ]
    assert "the checks are those of repetition 2; the others: 1 passed, 3 passed" in result.verdict.notes
    assert result.warm is result.repetitions[1].warm


def test_repetitions_that_agree_have_the_verdict_of_one() -> None:
    assert run_of(2, 2).verdict == run_of(2).verdict
    assert run_of(3, 3).verdict == run_of(3).verdict


def test_seconds_in_the_table_are_medians() -> None:
    result = repeated([20.0, 30.0, 22.0], [4.0, 5.0, 9.0])
    assert RunSummary.of(result).cells[5:7] == ["22.0", "5.0"]
    assert "seconds are medians of 3 repetitions" in SuiteSummary.of([result]).footnotes


def test_all_repetitions_are_kept_and_the_shown_one_is_explained(tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", run_of(3, 2))
    keep_records(suite, tmp_path / "kept")
    [kept] = judge_stored(tmp_path / "kept", Catalog.read())
    assert [each.verdict.status for each in kept.repetitions] == [Status.PASSED, Status.FAILED]
    [(explained, folder)] = explain_stored(suite, Catalog.read(), None)
    assert folder == suite / "tiny" / "repeat-2" and explained.number == 2


def test_expectations_are_accepted_only_if_all_repetitions_agree(tmp_path: Path) -> None:
    pairs = [(cold_record(counters={SAVED: each}), warm_record(counters={LOADED: each}), None) for each in (3, 2)]
    entry = model_entry(id="qwen3-32b")
    result = RunResult.of_repetitions(case_of(entry, repeat=2, config=tiny_config()), pairs)
    decisions = accept([stored(tmp_path / "suite", result)], Catalog.read())
    assert {each.decision for each in decisions} == {Decision.REFUSED}


def test_the_command_that_reproduces_a_run_repeats_it() -> None:
    assert " --repeat 3" in run_of(3, 3, 3).reproduce
    assert "--repeat" not in run_of(3).reproduce
