"""Stored data of every older schema version can be read; data of a newer one is an error that names the fix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.files import read_entry
from coldwarm.core.case import Case
from coldwarm.core.errors import CatalogError, UsageError
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.model_entry import ModelEntry
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store import schema
from coldwarm.store.schema import ALL, CASE, EXPLANATION, RECORD, VERDICT, Data, Schema
from coldwarm.store.suite_folder import read_runs, read_verdict
from tests.support.explanations import finding
from tests.support.records import cold_record, expectation, model_entry
from tests.support.runs import case_of, failed, known

RECORDS = Path(__file__).parents[2] / "records"
OF_VERSION_1 = [RECORDS / "h100-2026-11-25", RECORDS / "h100-2026-11-24-both"]
NOTE = (
    "costs of findings that were stored by an older version of coldwarm are omitted, because it counted the same "
    "cost in several findings; run again to measure them"
)


def written(path: Path, kind: Schema[Any], content: Any, **changes: object) -> Path:
    path.write_text(json.dumps(kind.to_data(content) | changes))
    return path


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.model.__name__)
def test_there_is_a_migration_from_every_older_version(kind: Schema[Any]) -> None:
    assert sorted(kind.migrations) == list(range(1, kind.version))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (CASE, case_of(model_entry(expect=[expectation()]))),
        (RECORD, cold_record()),
        (VERDICT, known().verdict),
        (EXPLANATION, Explanation(findings=[finding()])),
    ],
    ids=["case", "record", "verdict", "explanation"],
)
class TestEachKind:
    def test_is_read_unchanged(self, kind: Schema[Any], content: Any, tmp_path: Path) -> None:
        assert kind.read(written(tmp_path / "x.json", kind, content)) == content
        assert kind.to_data(content)["schema_version"] == kind.version

    def test_of_a_newer_version_is_an_error_with_the_fix(self, kind: Schema[Any], content: Any, tmp_path: Path) -> None:
        newer = kind.version + 1
        path = written(tmp_path / "x.json", kind, content, schema_version=newer)
        with pytest.raises(UsageError) as refused:
            kind.read(path)
        for part in (str(path), f"version {newer};", f"up to {kind.version};", "pip install --upgrade coldwarm"):
            assert part in str(refused.value)

    @pytest.mark.parametrize("version", [0, -1, "2", None, 1.5])
    def test_of_an_invalid_version_is_damaged(
        self, kind: Schema[Any], content: Any, tmp_path: Path, version: object
    ) -> None:
        with pytest.raises(UsageError, match=r"x\.json is damaged: schema_version"):
            kind.read(written(tmp_path / "x.json", kind, content, schema_version=version))


def test_data_without_a_version_is_migrated_from_version_1_step_by_step(tmp_path: Path) -> None:
    def rename(old: str, new: str) -> schema.Migration:
        return lambda data: {new if key == old else key: value for key, value in data.items()}

    third = replace(CASE, version=3, migrations={1: rename("machine", "hardware"), 2: rename("hardware", "device")})
    data = {("machine" if key == "device" else key): value for key, value in CASE.to_data(case_of()).items()}
    del data["schema_version"]
    path = tmp_path / "case.json"
    path.write_text(json.dumps(data))
    assert third.read(path) == case_of()
    of_version_2 = {"hardware" if key == "machine" else key: value for key, value in data.items()}
    path.write_text(json.dumps({**of_version_2, "schema_version": 2}))
    assert third.read(path) == case_of()


@pytest.mark.parametrize("findings", [1, [1], [{"seconds": 1.0}], None])
def test_a_migration_of_damaged_data_names_the_file(tmp_path: Path, findings: object) -> None:
    path = tmp_path / "explanation.json"
    path.write_text(json.dumps({"findings": findings}))
    with pytest.raises(UsageError, match=r"explanation\.json is damaged"):
        EXPLANATION.read(path)


# Entries that are stored with a case.

IN_ROWS = {"expect": "expect", "known_issue": "known_issue", "shrink": "shrink", "unsupported": "unsupported"}


def entry_data() -> Data:
    entry = known().case.entry.model_dump(mode="json")
    return {
        **entry,
        "expect": [expectation().model_dump(mode="json")],
        "shrink": [{"reason": "size", "overrides": {"num_hidden_layers": 8}}],
        "unsupported": [{"reason": "no kernel", "devices": ["cuda"]}],
    }


def with_unknown_keys(data: Data) -> Data:
    """Return the entry with one unknown key in each of its tables."""
    rows = {
        table: [
            {**row, "of_old": 1} | ({"when": {**row["when"], "of_old": 1}} if "when" in row else {})
            for row in data[table]
        ]
        for table in IN_ROWS
    }
    return {**data, **rows, "of_old": 1}


def test_unknown_keys_of_a_stored_entry_are_ignored(tmp_path: Path) -> None:
    entry = entry_data()
    data = {**CASE.to_data(case_of()), "of_old": 1, "entry": with_unknown_keys(entry)}
    path = tmp_path / "case.json"
    path.write_text(json.dumps(data))
    case = CASE.read(path)
    assert case is not None
    assert case.entry == ModelEntry.model_validate(entry)


@pytest.mark.parametrize("where", ["", *IN_ROWS])
def test_unknown_keys_of_an_entry_that_was_not_stored_are_an_error(where: str) -> None:
    data = with_unknown_keys(entry_data())
    known_keys = entry_data()
    one_wrong = {**known_keys, where: data[where]} if where else {**known_keys, "of_old": 1}
    with pytest.raises(ValueError, match="of_old"):
        ModelEntry.model_validate(one_wrong)
    with pytest.raises(ValueError, match="of_old"):
        Case.model_validate({**case_of().model_dump(mode="json"), "entry": one_wrong})


def test_unknown_keys_of_a_catalog_file_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('id = "mine"\nname = "Mine"\nconfig = "mine.json"\nsource = "here"\nof_old = 1\n')
    with pytest.raises(CatalogError, match=r"of_old: unknown key"):
        read_entry(path)


# Version 1 of explanations charged one cost to several findings.


def of_version_1(tmp_path: Path, *findings: Finding, notes: list[str] | None = None) -> Explanation:
    content = Explanation(findings=list(findings), notes=notes or [])
    read = EXPLANATION.read(written(tmp_path / "explanation.json", EXPLANATION, content, schema_version=1))
    assert read is not None
    return read


@pytest.mark.parametrize("kind", FindingKind)
def test_costs_of_version_1_are_dropped_unless_they_were_correct(kind: FindingKind, tmp_path: Path) -> None:
    read = of_version_1(tmp_path, finding(kind=kind, seconds=4.25), notes=["a note"])
    [only] = read.findings
    is_right = kind is FindingKind.NOT_SHARED
    assert only.seconds == (4.25 if is_right else None)
    assert only.what == finding().what
    assert read.notes == (["a note"] if is_right else ["a note", NOTE])


def test_an_explanation_of_version_1_without_wrong_costs_gets_no_note(tmp_path: Path) -> None:
    assert of_version_1(tmp_path, finding(seconds=None)).notes == []


def test_costs_of_the_current_version_are_not_changed(tmp_path: Path) -> None:
    content = Explanation(findings=[finding(seconds=4.25)])
    assert EXPLANATION.read(written(tmp_path / "explanation.json", EXPLANATION, content)) == content


def test_a_migrated_explanation_can_be_stored_unchanged(tmp_path: Path) -> None:
    once = of_version_1(tmp_path, finding(seconds=4.25))
    assert EXPLANATION.read(written(tmp_path / "explanation.json", EXPLANATION, once)) == once


# Version 1 of records had what was seen in processes in three places.

MESSAGES = [{"logger": "a", "level": "WARNING", "text": text} for text in "xyz"]


def record_of_version_1(ranks: list[Data] | None = None, **fields: object) -> Data:
    facts = {
        "versions": {"torch": "2.13.0"},
        "hardware": {},
        "aot_artifact": "bundled",
        "counters": {"n": 1},
        "layer_kinds": [{"layer_class": "L", "layers": 8, "parameters": 6}],
        "layer_configurations": {"l": 0},
        "main_model": "backbone",
        "further_models": [{"name": "eagle_head"}],
        "prompt_token_ids": [1],
        "generated": [],
        "peak_device_memory_bytes": 9,
        **({} if ranks is None else {"processes": ranks}),
    }
    new = RECORD.to_data(cold_record())
    of_version_2 = ("schema_version", "processes", "facts")
    return {**{key: value for key, value in new.items() if key not in of_version_2}, "facts": facts, **fields}


def rank(number: int, **fields: object) -> Data:
    return {"pid": 7 + number, "rank": number, "counters": {"n": number}, "peak_memory_bytes": 10, **fields}


def test_a_start_without_recorded_processes_had_one_rank() -> None:
    missing = {"modules": 2, "seconds": 1.5, "modules_again": 0, "seconds_again": 0.0}
    record = RECORD.from_data(
        record_of_version_1(
            messages=MESSAGES, missing_bytecode=missing, peak_memory_bytes=5, outside={"written": ["/x"]}
        )
    )
    [process] = record.processes
    assert (process.pid, process.rank, process.role) == (None, 0, "worker")
    assert (process.counters, process.main_model, process.peak_device_memory_bytes) == ({"n": 1}, "backbone", 9)
    assert (process.layer_kinds[0].layers, process.layer_configurations) == (8, {"l": 0})
    assert [model.name for model in process.further_models] == ["eagle_head"]
    assert [message.text for message in process.messages] == list("xyz")
    assert process.outside.written == ["/x"]
    assert process.missing_bytecode is not None and process.missing_bytecode.modules == 2
    assert process.peak_memory_bytes == 5
    assert record.facts is not None
    assert (record.facts.counters, record.facts.peak_device_memory_bytes) == ({"n": 1}, 9)
    assert record.facts.aot_artifact == "bundled"


def test_the_only_recorded_process_saw_what_the_start_did() -> None:
    only = rank(0, messages=MESSAGES, outside={"written": ["/x"]})
    data = record_of_version_1([only], messages=MESSAGES, outside={"written": ["/x"]}, peak_memory_bytes=10)
    [process] = RECORD.from_data(data).processes
    assert (process.pid, process.rank, process.counters) == (7, 0, {"n": 0})
    assert [message.text for message in process.messages] == list("xyz")
    assert (process.outside.written, process.peak_memory_bytes) == (["/x"], 10)


def test_what_no_rank_saw_is_of_the_process_that_began_the_start() -> None:
    ranks = [
        rank(0, messages=MESSAGES[1:2], outside={"written": ["/a"]}),
        rank(1, messages=MESSAGES[2:], outside={"written": ["/b"], "caches_read": ["/c"]}),
    ]
    data = record_of_version_1(
        ranks, messages=MESSAGES, outside={"written": ["/a", "/b", "/x"], "caches_read": ["/c"]}, peak_memory_bytes=50
    )
    record = RECORD.from_data(data)
    first, *others = record.processes
    assert (first.role, first.rank, first.pid) == ("engine core", None, None)
    assert [message.text for message in first.messages] == ["x"]
    assert (first.outside.written, first.outside.caches_read, first.peak_memory_bytes) == (["/x"], [], 30)
    assert [(process.pid, process.rank) for process in others] == [(7, 0), (8, 1)]
    # Together they are what version 1 had of the whole start.
    assert [message.text for message in record.messages] == list("xyz")
    assert (record.outside.written, record.peak_memory_bytes) == (["/a", "/b", "/x"], 50)
    assert record.facts is not None
    assert [process.rank for process in record.facts.processes] == [0, 1]


@pytest.mark.parametrize(
    ("seen", "processes"),
    [({"messages": MESSAGES}, 1), ({"peak_memory_bytes": 5}, 1), ({"outside": {"written": []}}, 0), ({}, 0)],
)
def test_a_start_that_did_not_finish_has_a_process_if_anything_was_seen(seen: Data, processes: int) -> None:
    record = RECORD.from_data(record_of_version_1(facts=None, outcome="crashed", **seen))
    assert [process.rank for process in record.processes] == [None] * processes
    assert len(record.messages) == len(seen.get("messages", []))
    assert record.peak_memory_bytes == seen.get("peak_memory_bytes")


@pytest.mark.parametrize("facts", [1, [1], "x", {"processes": [1]}, {"processes": 1}])
def test_a_record_of_version_1_with_damaged_facts_is_damaged(tmp_path: Path, facts: object) -> None:
    path = tmp_path / "cold.json"
    path.write_text(json.dumps(record_of_version_1(facts=facts)))
    with pytest.raises(UsageError, match=r"cold\.json is damaged"):
        RECORD.read(path)


def test_a_migrated_record_that_is_stored_again_is_the_same(tmp_path: Path) -> None:
    once = RECORD.from_data(record_of_version_1([rank(0), rank(1)], messages=MESSAGES, peak_memory_bytes=50))
    assert RECORD.read(written(tmp_path / "cold.json", RECORD, once)) == once


@pytest.mark.parametrize("suite", OF_VERSION_1, ids=lambda path: path.name)
def test_records_of_version_1_read_as_before(suite: Path) -> None:
    paths = [path for name in ("cold.json", "warm.json") for path in suite.glob(f"*/{name}")]
    assert len(paths) >= 16
    for path in paths:
        data, record = json.loads(path.read_bytes()), RECORD.read(path)
        assert record is not None and record.facts is not None
        seen = record.facts
        assert seen.counters == data["facts"]["counters"]
        assert [kind.model_dump() for kind in seen.layer_kinds] == data["facts"]["layer_kinds"]
        assert seen.peak_device_memory_bytes == data["facts"]["peak_device_memory_bytes"]
        assert [message.model_dump(exclude_none=True) for message in record.messages] == data["messages"]
        assert record.peak_memory_bytes == data["peak_memory_bytes"]
        missing = record.missing_bytecode
        assert (missing.model_dump() if missing else None) == data.get("missing_bytecode")


# What older versions of coldwarm stored.


@pytest.mark.parametrize("suite", OF_VERSION_1, ids=lambda path: path.name)
def test_runs_stored_by_an_older_coldwarm_can_be_read(suite: Path) -> None:
    runs = read_runs(suite)
    assert len(runs) >= 8
    for run in runs:
        assert "schema_version" not in json.loads((run.folder / "case.json").read_bytes())
        assert json.loads((run.folder / "explanation.json").read_bytes())["schema_version"] == 1
        assert run.cold is not None and run.warm is not None
        assert run.explanation is not None
        assert read_verdict(run.folder) is not None


def test_an_aborted_run_has_no_verdict(tmp_path: Path) -> None:
    assert read_verdict(tmp_path) is None


def test_a_verdict_without_a_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(failed().verdict.model_dump_json())
    assert read_verdict(tmp_path) == failed().verdict
