"""Comparing stored suites of several versions."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.known_issues import IssueSeen
from coldwarm.checks.verdict import Status
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.record import StartRecord
from coldwarm.report.versions_view import changed_verdicts, changed_versions, versions_as_markdown
from coldwarm.store.suite_folder import keep_records, read_runs
from coldwarm.suite.result import RunResult
from coldwarm.suite.versions import Cell, Change, Column, Comparison, VersionTable, compare_suites, compare_versions
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


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which the page about the known issue exists."""
    page = tmp_path / "checkout" / ISSUE.link
    page.parent.mkdir(parents=True)
    page.write_text("# one-too-many\n")
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


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


def test_a_release_broke_and_a_later_one_fixed_it(tmp_path: Path, checkout: Path) -> None:
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


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("docs/known-issues/one.md", "[one-too-many](../docs/known-issues/one.md)"),
        ("docs/known-issues/two.md", "`one-too-many`"),
        ("x" * 5000, "`one-too-many`"),
        ("https://example.org/issues/1", "[one-too-many](https://example.org/issues/1)"),
    ],
    ids=["page", "no page", "no path", "URL"],
)
def test_a_known_issue_is_a_link_only_if_that_leads_somewhere(checkout: Path, link: str, name: str) -> None:
    issue = IssueSeen(id="one-too-many", title="one too many", link=link, shows=True, words="")
    comparison = Comparison({}, [Change("new", issue, issue.title, {})], [], [], [])
    assert changed_verdicts(comparison, Path("reports")) == [f"Broke:\n\n- {name}: one too many: "]


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
        (Depth.FULL, ["early", "late"]),
        (Depth.COUNT, ["only-counted"]),
    ]
    assert found.columns[0].cells["one"].counts == (3, 3)


def test_models_that_were_only_counted_stay_beside_those_with_full_records(tmp_path: Path) -> None:
    found = table(
        suite(tmp_path, "1.0", name="full", one=3),
        suite(tmp_path, "1.0", name="counted", depth=Depth.COUNT, one=4, two=3),
        suite(tmp_path, "1.1", depth=Depth.COUNT, one=4, two=4),
    )
    assert [(column.version, column.depth, column.suites) for column in found.columns] == [
        ("1.0", Depth.FULL, ["full", "counted"]),
        ("1.1", Depth.COUNT, ["1.1"]),
    ]
    # One artifact too many shows at every depth.
    assert changes(found, 1) == [("new", "one-too-many", ["one", "two"])]
    text = versions_as_markdown([found], Path())
    assert "Cells with (count) were measured at that depth." in text
    assert "| one | 3 / 3 | 4 / 4 known issue |" in text
    assert "| two | 3 / 3 (count) | 4 / 4 known issue |" in text


@pytest.mark.parametrize(("before", "after"), [(Depth.FULL, Depth.COUNT), (Depth.COUNT, Depth.FULL)])
def test_a_depth_that_cannot_show_an_issue_of_kernels_neither_fixes_nor_breaks_it(before: Depth, after: Depth) -> None:
    def cell(depth: Depth) -> Cell:
        is_full = depth is Depth.FULL
        found = IssueSeen(id="again", title="kernels are compiled again", link="again.md", shows=True, words="")
        return Cell(
            status=Status.FAILED if is_full else Status.PASSED,
            depth=depth,
            saved=3,
            loaded=3,
            reason="cold and warm outputs differ" if is_full else None,
            issues={found.id: found} if is_full else {},
            of_counts=frozenset(),
            not_compiled=None,
        )

    columns = [
        Column(version, "2.13.0", depth, cells={"one": cell(depth)})
        for version, depth in (("1.0", before), ("1.1", after))
    ]
    assert VersionTable("cpu", "piecewise", None, "vllm", columns).changes(1) == []


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


def test_a_model_that_is_not_compiled_any_more_has_the_issues_that_are_gone_and_those_that_remain() -> None:
    def cell(*issues: str, not_compiled: str | None = None) -> Cell:
        return Cell(
            status=Status.KNOWN_ISSUE,
            depth=Depth.FULL,
            saved=0 if not_compiled else 3,
            loaded=0,
            reason=None,
            issues={each: IssueSeen(id=each, title=each, link="x.md", shows=True, words="") for each in issues},
            of_counts=frozenset(),
            not_compiled=not_compiled,
        )

    def changes_to(*issues: str) -> list[tuple[str, str, list[str]]]:
        cells = cell("two", "one", "kept"), cell(*issues, not_compiled="why")
        columns = [
            Column(version, "2.13.0", Depth.FULL, cells={"m": each})
            for version, each in zip(("1", "2"), cells, strict=True)
        ]
        return changes(VersionTable("cuda", "piecewise", None, "vllm", columns), 1)

    head = "not compiled with torch.compile: why"
    assert changes_to("kept", "new") == [
        ("changed", f"{head} (before, it showed one, two; it still shows kept)", ["m"]),
        ("new", "new", ["m"]),
    ]
    assert changes_to("two", "one", "kept") == [("changed", f"{head} (it still shows kept, one, two)", ["m"])]


def test_the_order_of_the_suites_does_not_matter(tmp_path: Path) -> None:
    suites = [
        suite(tmp_path, "1.0", name="1.0-b", one=3),
        suite(tmp_path, "1.1", name="1.1-a", one=4),
        suite(tmp_path, "1.0", name="1.0", two=3),
        suite(tmp_path, "1.1", name="1.1", depth=Depth.COUNT, two=4),
        suite(tmp_path, "1.0", name="1.0-a", one=4),
    ]
    [text, *others] = [
        versions_as_markdown(compare_versions(order, Catalog.read()), Path("docs")) for order in permutations(suites)
    ]
    assert set(others) == {text}
    assert "Measured in:\n\n- 1.0: `1.0`, `1.0-a`, `1.0-b`\n- 1.1: `1.1-a`, `1.1`\n" in text


def test_one_version_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="have no two versions of the engine on the same device"):
        compare_versions([suite(tmp_path, "1.0", one=3)], Catalog.read())


def test_suites_are_compared_by_versions_changes_and_models(tmp_path: Path, checkout: Path) -> None:
    old = suite(tmp_path, "1.0", one=3, two=3, gone=3)
    new = suite(tmp_path, "1.1", one=4, two=3, added=3)
    comparison = compare_suites(old, new, Catalog.read())
    assert changed_versions(comparison) == ["Versions:\n\n- vllm: 1.0, now 1.1"]
    assert changed_verdicts(comparison, Path("docs")) == [
        "Broke:\n\n- [one-too-many](known-issues/one.md): one unique subgraph too many: one (3 / 3, now 4 / 4)"
    ]
    assert (comparison.compared, comparison.added, comparison.missing) == (["one", "two"], ["added"], ["gone"])
    same = compare_suites(new, new, Catalog.read())
    assert changed_versions(same) == changed_verdicts(same, Path()) == []


def test_a_healthy_run_replaces_the_accepted_one_and_a_failed_one_does_not(tmp_path: Path) -> None:
    commands, accepted = Commands(tmp_path, []), tmp_path / "kept" / "accepted"
    old, failed, fixed = (
        suite(tmp_path, "1.0", one=3),
        suite(tmp_path, "1.1", one=5),
        suite(tmp_path, "1.2", one=3),
    )
    (old / "one" / "cold.log").write_text("long")

    def compare(run: Path, *words: str) -> str:
        done = commands.run_in_process("compare", accepted, run, *words, "--fail-on", "none")
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
