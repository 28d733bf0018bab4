from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.errors import UsageError
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store import suite_folder as store_module
from coldwarm.store.suite_folder import Store, StoredRun, models_not_started, new_default_folder, read_runs
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import judge_stored
from tests.support.explanations import finding
from tests.support.records import cold_record, unfinished_record, warm_record
from tests.support.runs import case_of, passed


def write(store: Store, result: RunResult) -> None:
    store.write_case(result.case)
    for record in (result.cold, result.warm):
        if record is not None:
            store.write_start(result.case, record)
    if result.explanation is not None:
        store.write_explanation(result.case, result.explanation)
    store.write_verdict(result.case, result.verdict)


def run_of(store: Path, model: str, cold: StartRecord | None = None, warm: StartRecord | None = None) -> StoredRun:
    """Return the run of `model` as it should be read, with only the given records."""
    return StoredRun(folder=store / model, case=passed(model).case, cold=cold, warm=warm, explanation=None)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    store = Store.create(tmp_path / "suite", ["b", "a"])
    write(store, passed("a"))
    write(store, passed("b"))
    return store.folder


def test_create_makes_parent_folders_and_stores_the_planned_models(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "deep" / "suite", ["b", "a"])
    assert json.loads((store.folder / "suite.json").read_text())["models"] == ["b", "a"]


def test_create_accepts_an_existing_empty_folder(tmp_path: Path) -> None:
    assert Store.create(tmp_path, ["a"]).folder == tmp_path


def test_create_rejects_a_folder_with_a_suite_and_does_not_change_it(suite: Path) -> None:
    before = (suite / "suite.json").read_bytes()
    with pytest.raises(UsageError, match=r"already contains a suite: .*suite\.json; choose another --output"):
        Store.create(suite, ["c"])
    assert (suite / "suite.json").read_bytes() == before


def test_create_rejects_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        Store.create(tmp_path / "file", [])
    with pytest.raises(UsageError, match="cannot write to"):
        Store.create(tmp_path / "file" / "below", [])


def test_default_folders_are_unique_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [Store.create(None, []).folder for _ in range(5)]
    assert len(set(folders)) == 5
    assert {folder.parent for folder in folders} == {store_module.DEFAULT_PARENT}


def test_runs_are_read_unchanged_in_the_order_of_the_suite(suite: Path) -> None:
    runs = read_runs(suite)
    assert runs == [run_of(suite, model, cold=cold_record(), warm=warm_record()) for model in ("b", "a")]


def test_a_single_run_can_be_read(suite: Path) -> None:
    [run] = read_runs(suite / "a")
    assert run.case.model_id == "a"


def test_a_model_that_was_not_started_has_no_run(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "suite", ["a", "b"])
    write(store, passed("a"))
    assert [run.case.model_id for run in read_runs(store.folder)] == ["a"]


def test_an_aborted_run_has_its_finished_starts(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "suite", ["a"])
    store.write_case(passed("a").case)
    assert read_runs(store.folder) == [run_of(store.folder, "a")]
    store.write_start(passed("a").case, unfinished_record())
    assert read_runs(store.folder) == [run_of(store.folder, "a", cold=unfinished_record())]


@pytest.mark.parametrize("name", ["suite.json", "a/case.json", "a/cold.json", "b/warm.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"kind": "hot"}'])
def test_a_damaged_record_is_named(suite: Path, name: str, content: bytes) -> None:
    (suite / name).write_bytes(content)
    with pytest.raises(UsageError, match=name):
        read_runs(suite)


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_content_of_a_record_causes_a_crash(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "wild"
    folder.mkdir(exist_ok=True)
    (folder / "case.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"case\.json"):
        read_runs(folder)


def test_a_record_that_is_a_folder_is_named(suite: Path) -> None:
    (suite / "a" / "cold.json").unlink()
    (suite / "a" / "cold.json").mkdir()
    with pytest.raises(UsageError, match=r"cold\.json"):
        read_runs(suite)


def test_a_record_of_a_newer_coldwarm_is_an_error(suite: Path) -> None:
    path = suite / "a" / "cold.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 999}))
    with pytest.raises(UsageError, match=r"a/cold\.json"):
        read_runs(suite)


def test_a_folder_without_a_suite_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="neither a suite"):
            read_runs(folder)


def test_a_partially_written_record_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.create(tmp_path / "suite", ["a"])
    case = passed("a").case
    store.write_case(case)
    store.write_start(case, cold_record(seconds=1.0))

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        store.write_start(case, cold_record(seconds=2.0))
    assert read_runs(store.folder)[0].cold == cold_record(seconds=1.0)


@settings(max_examples=50, deadline=None)
@given(text=st.text(), name=st.text())
def test_any_text_can_be_stored(text: str, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "texts")
    record = cold_record(environment={f"VLLM_{name}": text})
    case = case_of(argument=text)
    store.write_case(case)
    store.write_start(case, record)
    [run] = read_runs(store.folder_of(case))
    assert (run.case, run.cold) == (case, record)


def test_an_environment_that_is_not_utf8_can_be_stored(tmp_path: Path) -> None:
    # The value in os.environ of CFLAGS=$'\xff'.
    store = Store.create(tmp_path / "suite", ["tiny"])
    store.write_case(case_of())
    store.write_start(case_of(), cold_record(environment={"CFLAGS": "\udcff"}))
    assert read_runs(store.folder)[0].cold is not None


def test_models_that_an_aborted_suite_did_not_start_are_returned(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "suite", ["tiny", "later"])
    store.write_case(case_of())
    assert models_not_started(store.folder) == ["later"]
    assert models_not_started(store.folder_of(case_of())) == []


EXPLANATION = Explanation(findings=[finding(what="[/x] \u2028 \x1b", seconds=None)], notes=["no trace"])


def test_an_explanation_is_read_unchanged_and_passed_to_the_verdict(suite: Path) -> None:
    write(Store(suite), replace(passed("b"), explanation=EXPLANATION))
    assert [run.explanation for run in read_runs(suite)] == [EXPLANATION, None]
    assert [result.explanation for result in judge_stored(suite, Catalog.read())] == [EXPLANATION, None]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"findings": [{"kind": "hot"}]}'])
def test_a_damaged_explanation_is_named(suite: Path, content: bytes) -> None:
    (suite / "b" / "explanation.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"b/explanation\.json"):
        read_runs(suite)


def test_an_explanation_that_is_not_utf8_can_be_stored(suite: Path) -> None:
    write(Store(suite), replace(passed("b"), explanation=Explanation(notes=["\udcff"])))
    assert read_runs(suite / "b")[0].explanation == Explanation(notes=["?"])


def test_an_explanation_of_a_newer_coldwarm_is_an_error(suite: Path) -> None:
    (suite / "a" / "explanation.json").write_text('{"schema_version": 999}')
    with pytest.raises(UsageError, match=r"cannot read .*a/explanation\.json: written by a newer coldwarm"):
        read_runs(suite)


def test_a_record_from_before_explanations_can_be_read(suite: Path) -> None:
    # As those were that were written before there were any.
    later = ("phases", "steps", "caches_changed", "files_written", "options")
    for path in suite.glob("*/[cw]*.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in content.items() if name not in later}))
    for path in suite.glob("*/case.json"):
        content = json.loads(path.read_text())
        del content["warm_changes"]
        path.write_text(json.dumps(content))
    assert read_runs(suite) == [run_of(suite, model, cold=cold_record(), warm=warm_record()) for model in ("b", "a")]


def test_two_folders_of_the_same_second_have_different_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {new_default_folder("-add-tiny") for _ in range(3)}
    assert set((tmp_path / "coldwarm-runs").iterdir()) == {path.resolve() for path in folders}
    assert len(folders) == 3


def test_a_file_is_not_a_suite(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    for read in (read_runs, models_not_started):
        with pytest.raises(UsageError, match=r"README\.md is a file, not the folder of a suite or a run"):
            read(tmp_path / "README.md")
