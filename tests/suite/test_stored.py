from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.verdict import Status
from coldwarm.core.errors import UsageError
from coldwarm.core.finding import FindingKind
from coldwarm.core.record import Outcome, StartKind
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store.suite_folder import Store, read_runs
from coldwarm.suite.stored import explain_stored
from tests.support.explanations import compiled_again, finding, keys, span, write_keys, write_trace
from tests.support.records import cold_record, model_entry, unfinished_record
from tests.support.runs import passed, result_of, unsupported
from tests.support.stored import stored
from tests.test_kept_records import RECORDS, SUITES

CATALOG = Catalog.read()
STORED = Explanation(findings=[finding(what="as it was explained at the time")])


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Three runs: a warm start that recompiled because a variable changed, a healthy run, an unsupported model."""
    bad = result_of(model_entry(id="bad"), cold_record(), compiled_again())
    folder = stored(tmp_path / "suite", bad, passed("good"), unsupported("none"))
    write_keys(folder / "bad", keys(), keys(environment={"VLLM_USE_V1": "False"}))
    return folder


def store_traces(run: Path) -> None:
    for kind in StartKind:
        write_trace(run / f"{kind}.trace", span("dynamo", "B", 1.0), span("dynamo", "E", 2.0))


def store_explanation(suite: Path, model: str = "bad") -> None:
    Store(suite).write_explanation(read_runs(suite / model)[0].case, STORED)


def test_every_started_run_is_explained_with_its_verdict_and_folder(suite: Path) -> None:
    found = explain_stored(suite, CATALOG, None)
    assert [(result.case.model_id, result.verdict.status, folder) for result, folder in found] == [
        ("bad", Status.FAILED, suite / "bad"),
        ("good", Status.PASSED, suite / "good"),
    ]
    explained = [result.explanation for result, _ in found]
    assert [[one.kind for one in each.findings] for each in explained if each] == [[FindingKind.KEY_CHANGED], []]


@pytest.mark.parametrize("model", [None, "bad"])
def test_a_single_run_can_be_named_by_its_folder(suite: Path, model: str | None) -> None:
    [(result, folder)] = explain_stored(suite / "bad", CATALOG, model)
    assert (result.case.model_id, folder) == ("bad", suite / "bad")


def test_one_model_of_a_suite_can_be_explained(suite: Path) -> None:
    [(result, folder)] = explain_stored(suite, CATALOG, "good")
    assert (result.case.model_id, folder) == ("good", suite / "good")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("goood", "no run of 'goood' in .*; nearest: good "),
        ("zzz", r"no run of 'zzz' in [^;]*\(runs: bad, good\)"),
        ("", "no run of ''"),
        ("none", r"no run of 'none' in .*\(runs: bad, good\)"),
    ],
)
def test_a_model_without_a_run_is_an_error_that_names_the_others(suite: Path, model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explain_stored(suite, CATALOG, model)


def test_a_model_is_not_searched_for_in_other_runs(suite: Path) -> None:
    with pytest.raises(UsageError, match=r"\(runs: bad\)"):
        explain_stored(suite / "bad", CATALOG, "good")


def test_a_suite_without_started_runs_is_an_error(tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", unsupported())
    with pytest.raises(UsageError, match="contains no run that was started"):
        explain_stored(suite, CATALOG, None)
    with pytest.raises(UsageError, match=r"\(runs: none\)"):
        explain_stored(suite, CATALOG, "unsupported")


def test_a_folder_without_a_suite_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="neither a suite"):
            explain_stored(folder, CATALOG, None)


def test_without_traces_the_stored_explanation_is_used(suite: Path) -> None:
    store_explanation(suite)
    [(result, _)] = explain_stored(suite, CATALOG, "bad")
    assert result.explanation == STORED


def test_with_traces_they_are_read_again(suite: Path) -> None:
    store_explanation(suite)
    store_traces(suite / "bad")
    [(result, _)] = explain_stored(suite, CATALOG, "bad")
    assert result.explanation is not None
    assert [one.kind for one in result.explanation.findings] == [FindingKind.KEY_CHANGED]
    assert "VLLM_USE_V1" in result.explanation.findings[0].what
    shutil.rmtree(suite / "bad" / "cold.trace")
    (suite / "bad" / "cold.trace").mkdir()
    [(result, _)] = explain_stored(suite, CATALOG, "bad")
    assert result.explanation == STORED


def test_explaining_changes_nothing_on_disk(suite: Path) -> None:
    store_traces(suite / "bad")
    before = {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}
    explain_stored(suite, CATALOG, None)
    assert {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()} == before


def test_an_old_run_without_traces_and_explanation_has_notes(suite: Path) -> None:
    (suite / "bad" / "cold.keys.json").unlink()
    [(result, _)] = explain_stored(suite, CATALOG, "bad")
    assert result.explanation is not None
    assert result.explanation.notes == [
        "cold.trace contains no trace",
        "warm.trace contains no trace",
        "the components of the cache keys were not recorded",
    ]
    assert [one.kind for one in result.explanation.findings] == [FindingKind.UNEXPLAINED]


@pytest.mark.parametrize("outcome", [None, Outcome.CRASHED, Outcome.TIMED_OUT])
def test_an_unfinished_run_is_explained_as_far_as_possible(tmp_path: Path, outcome: Outcome | None) -> None:
    warm = None if outcome is None else unfinished_record(StartKind.WARM, outcome)
    suite = stored(tmp_path / "suite", result_of(model_entry(), cold_record(), warm))
    [(result, _)] = explain_stored(suite, CATALOG, None)
    assert result.verdict.status is Status.ERROR
    assert result.explanation is not None
    assert result.explanation.findings == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.relative_to(RECORDS).as_posix())
def test_stored_records_keep_their_explanation_or_are_explained_as_far_as_possible(suite: Path) -> None:
    found = explain_stored(suite, CATALOG, None)
    runs = [run for run in read_runs(suite) if run.cold]
    assert len(found) == len(runs)
    for run, (result, _) in zip(runs, found, strict=True):
        assert result.explanation is not None
        if run.explanation is not None:
            assert result.explanation == run.explanation
            continue
        assert "cold.trace contains no trace" in result.explanation.notes
        if result.verdict.status is Status.PASSED:
            assert result.explanation.findings == []
