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
from coldwarm.suite.explaining import explain_again
from tests.support.explanations import compiled_again, finding, keys, span, write_keys, write_trace
from tests.support.records import cold_record, model_entry, unfinished_record
from tests.support.runs import passed, result_of, unsupported
from tests.support.stored import stored
from tests.test_kept_records import RECORDS, SUITES

CATALOG = Catalog.read()
THEN = Explanation(findings=[finding(what="as it was explained then")])


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Three runs: one whose warm start compiled since a variable changed, a healthy one, an unsupported one."""
    bad = result_of(model_entry(id="bad"), cold_record(), compiled_again())
    folder = stored(tmp_path / "suite", bad, passed("good"), unsupported("none"))
    write_keys(folder / "bad", keys(), keys(environment={"VLLM_USE_V1": "False"}))
    return folder


def keep_traces(run: Path) -> None:
    for kind in StartKind:
        write_trace(run / f"{kind}.trace", span("dynamo", "B", 1.0), span("dynamo", "E", 2.0))


def keep_explanation(suite: Path, model: str = "bad") -> None:
    Store(suite).keep_explanation(read_runs(suite / model)[0].case, THEN)


def test_every_run_that_was_made_is_explained_with_its_verdict_and_folder(suite: Path) -> None:
    found = explain_again(suite, CATALOG, None)
    assert [(result.case.model_id, result.verdict.status, folder) for result, folder in found] == [
        ("bad", Status.FAILED, suite / "bad"),
        ("good", Status.PASSED, suite / "good"),
    ]
    explained = [result.explanation for result, _ in found]
    assert [[one.kind for one in each.findings] for each in explained if each] == [[FindingKind.KEY_CHANGED], []]


@pytest.mark.parametrize("model", [None, "bad"])
def test_one_run_is_explained_by_its_folder(suite: Path, model: str | None) -> None:
    [(result, folder)] = explain_again(suite / "bad", CATALOG, model)
    assert (result.case.model_id, folder) == ("bad", suite / "bad")


def test_one_model_of_a_suite_is_explained_alone(suite: Path) -> None:
    [(result, folder)] = explain_again(suite, CATALOG, "good")
    assert (result.case.model_id, folder) == ("good", suite / "good")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("goood", "no run of 'goood' in .*; nearest: good "),
        ("zzz", r"no run of 'zzz' in [^;]*\(runs: bad, good\)"),
        ("", "no run of ''"),
        ("none", r"no run of 'none' in .*\(runs: bad, good\)"),
    ],
)
def test_a_model_without_a_run_names_those_that_have_one(suite: Path, model: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        explain_again(suite, CATALOG, model)


def test_a_model_is_not_looked_for_in_another_run(suite: Path) -> None:
    with pytest.raises(UsageError, match=r"\(runs: bad\)"):
        explain_again(suite / "bad", CATALOG, "good")


def test_a_suite_of_which_nothing_was_started_is_refused(tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", unsupported())
    with pytest.raises(UsageError, match="holds no run that was started"):
        explain_again(suite, CATALOG, None)
    with pytest.raises(UsageError, match=r"\(runs: none\)"):
        explain_again(suite, CATALOG, "unsupported")


def test_a_folder_without_a_suite_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="neither a suite"):
            explain_again(folder, CATALOG, None)


def test_where_the_traces_are_gone_what_was_explained_then_stays(suite: Path) -> None:
    keep_explanation(suite)
    [(result, _)] = explain_again(suite, CATALOG, "bad")
    assert result.explanation == THEN


def test_where_the_traces_are_there_they_are_read_anew(suite: Path) -> None:
    keep_explanation(suite)
    keep_traces(suite / "bad")
    [(result, _)] = explain_again(suite, CATALOG, "bad")
    assert result.explanation is not None
    assert [one.kind for one in result.explanation.findings] == [FindingKind.KEY_CHANGED]
    assert "VLLM_USE_V1" in result.explanation.findings[0].what
    shutil.rmtree(suite / "bad" / "cold.trace")
    (suite / "bad" / "cold.trace").mkdir()
    [(result, _)] = explain_again(suite, CATALOG, "bad")
    assert result.explanation == THEN


def test_explaining_changes_nothing_on_disk(suite: Path) -> None:
    keep_traces(suite / "bad")
    before = {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}
    explain_again(suite, CATALOG, None)
    assert {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()} == before


def test_an_old_run_with_neither_traces_nor_an_explanation_says_so(suite: Path) -> None:
    (suite / "bad" / "cold.keys.json").unlink()
    [(result, _)] = explain_again(suite, CATALOG, "bad")
    assert result.explanation is not None
    assert result.explanation.notes == [
        "cold.trace holds no trace",
        "warm.trace holds no trace",
        "what went into the cache keys was not recorded",
    ]
    assert [one.kind for one in result.explanation.findings] == [FindingKind.UNEXPLAINED]


@pytest.mark.parametrize("outcome", [None, Outcome.CRASHED, Outcome.TIMED_OUT])
def test_a_run_that_did_not_finish_is_explained_as_far_as_it_came(tmp_path: Path, outcome: Outcome | None) -> None:
    warm = None if outcome is None else unfinished_record(StartKind.WARM, outcome)
    suite = stored(tmp_path / "suite", result_of(model_entry(), cold_record(), warm))
    [(result, _)] = explain_again(suite, CATALOG, None)
    assert result.verdict.status is Status.ERROR
    assert result.explanation is not None
    assert result.explanation.findings == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.relative_to(RECORDS).as_posix())
def test_kept_records_are_explained_as_then_or_else_as_far_as_they_go(suite: Path) -> None:
    found = explain_again(suite, CATALOG, None)
    runs = [run for run in read_runs(suite) if run.cold]
    assert len(found) == len(runs)
    for run, (result, _) in zip(runs, found, strict=True):
        assert result.explanation is not None
        if run.explanation is not None:
            assert result.explanation == run.explanation
            continue
        assert "cold.trace holds no trace" in result.explanation.notes
        if result.verdict.status is Status.PASSED:
            assert result.explanation.findings == []
