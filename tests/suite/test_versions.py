"""Comparing stored suites of several versions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.record import StartRecord
from coldwarm.report.versions_view import comparison_as_markdown, versions_as_markdown
from coldwarm.store.suite_folder import keep_records, read_runs
from coldwarm.suite.result import RunResult
from coldwarm.suite.versions import VersionTable, compare_suites, compare_versions
from tests.support.commands import Commands
from tests.support.records import (
    LOADED,
    SAVED,
    cold_facts,
    cold_record,
    known_issue,
    model_entry,
    unfinished_record,
    warm_facts,
    warm_record,
)
from tests.support.runs import case_of
from tests.support.stored import stored

ISSUE = known_issue(link="docs/known-issues/one.md", intermittent=True)


def versioned(record: StartRecord, version: str, **fields: Any) -> StartRecord:
    assert record.facts is not None
    facts = record.facts.model_copy(update={"versions": {"vllm": version, "torch": "2.13.0"}})
    return record.model_copy(update={"facts": facts, **fields})


def suite(folder: Path, version: str, *, name: str | None = None, day: int = 1, **models: Any) -> Path:
    """Store a suite with models by id, with the artifacts that the cold start saves; None: the start crashed."""
    results = []
    depth = models.pop("depth", Depth.FULL)
    for model, saved in models.items():
        entry = model_entry(id=model, known_issue=[ISSUE])
        case = case_of(entry).model_copy(update={"depth": depth})
        began = datetime(2026, 11, day, tzinfo=UTC)
        if saved is None:
            results.append(RunResult.of(case, unfinished_record(began=began), None))
            continue
        cold = versioned(cold_record(counters={SAVED: saved}), version, began=began, depth=depth)
        warm = versioned(warm_record(counters={LOADED: saved}), version, began=began, depth=depth)
        results.append(RunResult.of(case, cold, warm))
    return stored(folder / (name or version), *results)


def table(*suites: Path) -> VersionTable:
    [found] = compare_versions(suites, Catalog.read())
    return found


def changes(found: VersionTable, number: int) -> list[tuple[str, str, list[str]]]:
    return [
        (change.how, change.issue.id if change.issue else change.what, list(change.models))
        for change in found.changes(number)
    ]


def test_a_release_broke_and_a_later_one_fixed_it(tmp_path: Path) -> None:
    found = table(
        suite(tmp_path, "0.10.0", one=4, two=4, three=3),
        suite(tmp_path, "0.9.0", one=3, two=3, three=3),
        suite(tmp_path, "0.11.0", one=3, two=4, three=3),
    )
    assert [column.version for column in found.columns] == ["0.9.0", "0.10.0", "0.11.0"]
    assert changes(found, 1) == [("new", "one-too-many", ["one", "two"])]
    assert changes(found, 2) == [("gone", "one-too-many", ["one"])]
    text = versions_as_markdown([found], Path("docs"))
    assert "| one | 3 / 3 | 4 / 4 known issue | 3 / 3 |" in text
    assert (
        "Broke:\n\n- [one-too-many](known-issues/one.md): one unique subgraph too many: one (3 / 3, now 4 / 4), "
        "two (3 / 3, now 4 / 4)\n"
    ) in text
    assert "### 0.11.0\n\nFixed:\n\n- [one-too-many]" in text


def test_a_model_is_compared_with_the_last_version_that_has_it(tmp_path: Path) -> None:
    found = table(
        suite(tmp_path, "1.0", one=3, two=3), suite(tmp_path, "1.1", two=3), suite(tmp_path, "1.2", one=2, two=3)
    )
    assert changes(found, 1) == []
    assert changes(found, 2) == [("changed", "other counts, without a known issue", ["one"])]
    text = versions_as_markdown([found], Path())
    assert "### 1.1\n\nNo model differs from 1.0." in text
    assert "| one | 3 / 3 |  | 2 / 2 |" in text


def test_a_crash_has_its_reason_and_the_version_of_its_suite(tmp_path: Path) -> None:
    found = table(suite(tmp_path, "1.0", one=None, two=3), suite(tmp_path, "1.1", one=3, two=3))
    assert found.columns[0].cells["one"].status == "error"
    [(how, what, models)] = changes(found, 1)
    assert (how, models) == ("gone", ["one"])
    assert what == "error: the cold start crashed in phase 'weights': ValueError: no such thing"


def test_the_deepest_and_then_the_latest_suite_of_a_version_counts(tmp_path: Path) -> None:
    found = table(
        suite(tmp_path, "1.0", name="late", day=3, one=3),
        suite(tmp_path, "1.0", name="early", day=2, one=2),
        suite(tmp_path, "1.0", name="shallow", day=4, depth=Depth.COUNT, one=1),
        suite(tmp_path, "1.1", name="only-counted", depth=Depth.COUNT, one=3),
    )
    assert [(column.depth, column.suites) for column in found.columns] == [
        (Depth.FULL, ["late", "early"]),
        (Depth.COUNT, ["only-counted"]),
    ]
    assert found.columns[0].cells["one"].counts == (3, 3)


def test_a_model_that_is_not_compiled_any_more_has_the_reason(tmp_path: Path) -> None:
    before = suite(tmp_path, "1.0", one=4)
    case = case_of(model_entry(id="one"))
    why = "no class is decorated"
    cold = versioned(cold_record(facts=cold_facts(counters={SAVED: 0}, torch_compile=why)), "1.1")
    warm = versioned(warm_record(facts=warm_facts(counters={LOADED: 0}, torch_compile=why)), "1.1")
    after = stored(tmp_path / "1.1", RunResult.of(case, cold, warm))
    found = table(before, after)
    assert changes(found, 1) == [
        ("changed", f"not compiled with torch.compile: {why} (before, it showed one-too-many)", ["one"])
    ]
    assert "| one | 4 / 4 known issue | not compiled" in versions_as_markdown([found], Path())


def test_one_version_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="have no two versions of the engine on the same device"):
        compare_versions([suite(tmp_path, "1.0", one=3)], Catalog.read())


def test_suites_are_compared_by_versions_changes_and_models(tmp_path: Path) -> None:
    old = suite(tmp_path, "1.0", one=3, two=3, gone=3)
    new = suite(tmp_path, "1.1", one=4, two=3, added=3)
    assert comparison_as_markdown(compare_suites(old, new, Catalog.read()), Path("docs")) == (
        "## Changes since the last accepted run\n\n"
        "Versions:\n\n- vllm: 1.0, now 1.1\n\n"
        "Broke:\n\n- [one-too-many](known-issues/one.md): one unique subgraph too many: one (3 / 3, now 4 / 4)\n\n"
        "New: added.\n\nNot run: gone.\n"
    )
    assert comparison_as_markdown(compare_suites(new, new, Catalog.read()), Path()) == (
        "## Changes since the last accepted run\n\nNo verdict and no count changed in 3 runs.\n"
    )


def test_a_healthy_run_replaces_the_accepted_one_and_a_failed_one_does_not(tmp_path: Path) -> None:
    commands, accepted = Commands(tmp_path, []), tmp_path / "kept" / "accepted"
    old, failed, fixed = (
        suite(tmp_path, "1.0", one=3),
        suite(tmp_path, "1.1", one=5),
        suite(tmp_path, "1.2", one=3),
    )
    (old / "one" / "cold.log").write_text("long")

    def compare(run: Path, *words: str) -> str:
        done = commands.run_in_process("compare", accepted, run, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def version() -> str:
        cold = read_runs(accepted)[0].cold
        assert cold is not None and cold.facts is not None
        return cold.facts.versions["vllm"]

    assert compare(old, "--update") == "There is no accepted run yet.\n"
    assert version() == "1.0" and not (accepted / "one" / "cold.log").exists()
    for _ in range(2):
        assert "- vllm: 1.0, now 1.1\n" in compare(failed, "--update")
    assert "- vllm: 1.0, now 1.2\n" in compare(fixed)
    assert version() == "1.0"
    compare(fixed, "--update")
    assert version() == "1.2"
    assert [path.name for path in accepted.parent.iterdir()] == ["accepted"]
    missing = commands.run_in_process("compare", tmp_path / "nothing", fixed)
    assert (missing.returncode, missing.stdout) == (2, "")


def test_a_folder_that_is_no_suite_is_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "work").write_text("x")
    with pytest.raises(UsageError, match="exists and is not a suite"):
        keep_records(suite(tmp_path, "1.0", one=3), mine)
    assert (mine / "work").exists()


def test_a_run_is_not_replaced_by_its_own_copy_without_logs(tmp_path: Path) -> None:
    run = suite(tmp_path, "1.0", one=3)
    (run / "one" / "cold.log").write_text("x")
    with pytest.raises(UsageError, match="is the run itself"):
        keep_records(run, run.parent / "." / run.name)
    assert (run / "one" / "cold.log").exists()


def test_the_accepted_run_stays_if_a_copy_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = tmp_path / "accepted"
    keep_records(suite(tmp_path, "1.0", one=3), accepted)
    before = sorted(accepted.rglob("*"))
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        keep_records(suite(tmp_path, "1.1", one=4), accepted)
    assert sorted(accepted.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
