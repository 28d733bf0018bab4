from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.catalog.writing import expectation_block
from coldwarm.checks.verdict import Status, Verdict
from coldwarm.core.checks import Check
from coldwarm.core.command import Command
from coldwarm.core.depth import Depth
from coldwarm.core.finding import Finding
from coldwarm.core.model_entry import Memory, ModelEntry
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite.acceptance import Acceptance, Change, Decision, accept, file_changes
from coldwarm.suite.measurement import expectation_of, issues_shown
from coldwarm.suite.result import RunResult
from tests.support.commands import ROOT
from tests.support.records import (
    LOADED,
    MISSES,
    SAVED,
    VERSIONS,
    catalog_model,
    cold_facts,
    cold_record,
    expectation,
    known_issue,
    model_entry,
    tiny_config,
    unfinished_record,
    warm_facts,
    warm_record,
)
from tests.support.runs import case_of
from tests.support.stored import stored

FIRST_MOE_LAYER = Finding(
    kind="not shared",
    start=StartKind.COLD,
    what="2 artifacts instead of 1: `math_prod((s72, 256))` is computed in submod_8",
    where="vllm/model_executor/layers/fused_moe/modular_kernel.py:1170",
    extra_artifacts=1,
)
"""The finding of first-moe-layer-on-cpu."""
NEWER = {**VERSIONS, "vllm": "0.34.0rc1", "torch": "2.15.1+cpu"}


def starts(
    *, cold: dict[str, int] | None = None, warm: dict[str, int] | None = None, **facts: Any
) -> tuple[StartRecord, StartRecord]:
    return (
        cold_record(facts=cold_facts(counters=cold, **facts)),
        warm_record(facts=warm_facts(counters=warm, **facts)),
    )


def one_more(**facts: Any) -> tuple[StartRecord, StartRecord]:
    return starts(cold={SAVED: 4}, warm={LOADED: 4}, **facts)


class Accepting:
    """Stores runs of one model, and accepts them by a catalog that has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def store(
        self,
        entry: ModelEntry,
        records: tuple[StartRecord | None, StartRecord | None],
        findings: Sequence[Finding] = (),
        **case: Any,
    ) -> Path:
        self._number += 1
        result = RunResult.of(
            case_of(entry, named_by_id=True, **case), *records, Explanation(findings=list(findings), notes=[])
        )
        return stored(self._folder / str(self._number), result)

    def decide(self, entry: ModelEntry, *folders: Path) -> list[Acceptance]:
        model = catalog_model(entry, path=self._folder / "tiny.toml")
        return accept(folders, Catalog([model]))

    def one(
        self,
        entry: ModelEntry,
        records: tuple[StartRecord | None, StartRecord | None],
        findings: Sequence[Finding] = (),
        **case: Any,
    ) -> Acceptance:
        [decided] = self.decide(entry, self.store(entry, records, findings, **case))
        return decided


@pytest.fixture
def accepting(tmp_path: Path) -> Accepting:
    return Accepting(tmp_path)


@pytest.mark.parametrize("folder", sorted((ROOT / "records").glob("*/suite.json")), ids=lambda path: path.parent.name)
def test_kept_records_meet_their_expectations_and_change_nothing(folder: Path) -> None:
    decided = accept([folder.parent], Catalog.read())
    if all(run.case.command or run.case.options for run in read_runs(folder.parent)):
        # No expectation is for a command, or for these options.
        assert {each.decision for each in decided} == {Decision.REFUSED}
        return
    met = [each for each in decided if each.decision is Decision.UNCHANGED]
    assert file_changes(met) == []
    assert len(met) >= min(3, len(decided))
    assert Decision.CHANGED not in {each.decision for each in decided}
    for each in decided:
        # The model may be shrunk differently now.
        assert all("; run it again" in reason for reason in each.reasons), each


def test_an_expectation_that_is_not_met_is_replaced(accepting: Accepting) -> None:
    row = expectation(when={"device": "cpu", "vllm": ">=0.31"}, seconds={"cold": 9.0, "warm": 9.0})
    entry = model_entry(layer_kinds=["dense", "MoE"], expect=[row])
    decided = accepting.one(entry, one_more(peak_memory_bytes=2**30))
    assert (decided.decision, decided.changes) == (
        Decision.CHANGED,
        [Change(f"cold.{SAVED}", "3", "4"), Change(f"warm.{LOADED}", "3", "4")],
    )
    [edit] = decided.edits
    assert (edit.row, edit.expectation.when, edit.expectation.cold[SAVED]) == (0, row.when, 4)
    assert edit.expectation.seconds == expectation_of(*one_more(), _verdict(entry, one_more())).seconds
    assert edit.expectation.memory is None, "the expectation had none"
    assert "not known" in decided.why[0]


def _verdict(entry: ModelEntry, records: tuple[StartRecord, StartRecord]) -> Any:
    return RunResult.of(case_of(entry), *records).verdict


def test_new_versions_get_their_own_expectation_compared_with_the_nearest_older_one(accepting: Accepting) -> None:
    rows = [
        expectation(when={"device": "cpu", "compilation": "piecewise", "vllm": f"~={version}.0"}, cold={SAVED: saved})
        for version, saved in (("0.28", 5), ("0.32", 3), ("0.35", 6))
    ]
    # Nearer, but of another platform.
    rows.append(expectation(when={"device": "cpu", "compilation": "shipped", "vllm": "~=0.34.0"}, cold={SAVED: 7}))
    entry = model_entry(layer_kinds=["dense", "MoE"], expect=rows)
    same = accepting.one(entry, starts(versions=NEWER))
    assert (same.decision, same.compared_with, same.changes) == (Decision.NEW, rows[1].when, [])
    [edit] = same.edits
    assert (edit.row, edit.expectation.cold) == (None, {SAVED: 3, LOADED: 0, MISSES: 4})
    assert expectation_block(edit.expectation, "x").splitlines()[1] == (
        'when = { device = "cpu", compilation = "piecewise", torch = "~=2.15.0", vllm = "==0.34.*" }'
    )
    assert edit.expectation.when.matches_platform(_context(one_more(versions=NEWER)[0]))
    other = accepting.one(entry, one_more(versions=NEWER))
    assert (other.decision, other.changes) == (
        Decision.NEW,
        [Change(f"cold.{SAVED}", "3", "4"), Change(f"warm.{LOADED}", "3", "4")],
    )


def _context(record: StartRecord) -> Any:
    from coldwarm.checks.run_context import context_of

    return context_of(record)


def test_a_new_expectation_of_a_model_without_any_has_the_usual_counters(accepting: Accepting) -> None:
    decided = accepting.one(model_entry(), starts(peak_memory_bytes=2**30))
    [edit] = decided.edits
    assert (decided.decision, decided.compared_with) == (Decision.NEW, None)
    assert edit.expectation.memory == Memory(host=1.0)
    assert edit.expectation.cold == {SAVED: 3, LOADED: 0, MISSES: 4}
    assert edit.expectation.warm == {SAVED: 0, LOADED: 3, MISSES: 0}
    assert edit.expectation.measured == "2026-11-23, 2 cores (x86_64), vLLM 0.32.0, torch 2.13.0+cpu, Python 3.11"


def test_an_issue_of_the_engine_that_is_new_is_named_and_is_the_reason(accepting: Accepting) -> None:
    entry = model_entry(expect=[expectation(when={"device": "cpu", "vllm": "~=0.28.0"})])
    decided = accepting.one(entry, one_more(), [FIRST_MOE_LAYER])
    assert decided.edits[0].expectation.shows == ("first-moe-layer-on-cpu",)
    assert Change("shows", "none", "first-moe-layer-on-cpu") in decided.changes
    assert decided.why[0].startswith("known issue first-moe-layer-on-cpu occurs: on a CPU, ")
    assert decided.why[0].endswith(" (coldwarm show first-moe-layer-on-cpu)")


@pytest.mark.parametrize("vllm", ["~=0.30.0", "~=0.32.0"])
def test_an_issue_of_the_engine_that_is_fixed_is_no_longer_named(accepting: Accepting, vllm: str) -> None:
    row = expectation(
        when={"device": "cpu", "compilation": "piecewise", "vllm": vllm},
        shows=["first-moe-layer-on-cpu"],
        cold={SAVED: 4},
        warm={LOADED: 4},
    )
    decided = accepting.one(model_entry(expect=[row]), starts())
    assert decided.edits[0].expectation.shows == ()
    assert Change("shows", "first-moe-layer-on-cpu", "none") in decided.changes
    assert decided.why[0].startswith("known issue first-moe-layer-on-cpu ")


def test_a_fixed_issue_alone_is_a_change(accepting: Accepting) -> None:
    row = expectation(shows=["first-moe-layer-on-cpu"])
    decided = accepting.one(model_entry(expect=[row]), starts())
    assert (decided.decision, decided.changes) == (
        Decision.CHANGED,
        [Change("shows", "first-moe-layer-on-cpu", "none")],
    )


def test_issues_about_kernels_are_not_named() -> None:
    accepted = ("first-moe-layer-on-cpu", "cute-dsl-kernels-are-not-cached", "an-issue-of-the-model")
    checks = [Check(id="x", holds=False, words="", accepted_by=name) for name in accepted]
    assert issues_shown(Verdict(status=Status.KNOWN_ISSUE, checks=checks)) == ("first-moe-layer-on-cpu",)


def test_a_fixed_issue_of_the_model_is_left_to_the_reader(accepting: Accepting) -> None:
    entry = model_entry(expect=[expectation()], known_issue=[known_issue()])
    decided = accepting.one(entry, starts())
    assert decided.decision is Decision.UNCHANGED
    assert decided.to_do[0].startswith("known issue one-too-many no longer occurs; remove its [[known_issue]] from ")
    assert decided.to_do[0].endswith(" (https://example.org/issues/1)")


WITH_OPTIONS = cold_record(options={"max_num_seqs": 8}), warm_record(options={"max_num_seqs": 8})
WITH_VARIABLE = cold_record(environment={"VLLM_X": "1"}), warm_record(environment={"VLLM_X": "1"})


@pytest.mark.parametrize(
    ("records", "case", "reason"),
    [
        (one_more(), {}, "cold-only-unique does not hold: cold start saved 4 artifacts"),
        (starts(warm={SAVED: 1}), {}, "warm-saves-nothing does not hold"),
        ((unfinished_record(), None), {}, "the cold start crashed"),
        (
            tuple(record.model_copy(update={"depth": Depth.COUNT}) for record in starts()),
            {},
            "--depth count does not measure all counters of the expectation for cpu, piecewise, torch ~=2.13.0",
        ),
        ((cold_record(depth=Depth.TRACE), None), {}, "it was run with --depth trace"),
        (WITH_OPTIONS, {}, "it was run with --set max_num_seqs=8, and no expectation is for that"),
        (WITH_VARIABLE, {}, "it was run with VLLM_X=1, and no expectation is for that"),
        ((cold_record(), WITH_OPTIONS[1]), {}, "its warm start had settings of its own"),
        (starts(), {"drafter": {"num_hidden_layers": 1}}, "it was started with another config or other overrides"),
        (starts(), {"overrides": {"num_hidden_layers": 4}}, "it was started with another config or other overrides"),
    ],
)
def test_a_run_is_refused(accepting: Accepting, records: Any, case: dict[str, Any], reason: str) -> None:
    decided = accepting.one(model_entry(expect=[expectation(cold={SAVED: 9})]), records, **case)
    assert (decided.decision, decided.edits) == (Decision.REFUSED, [])
    assert any(reason in each for each in decided.reasons), decided.reasons


def counted(*, cold: dict[str, int] | None = None, warm: dict[str, int] | None = None) -> Any:
    """Return starts at depth count, where PyTorch's own counters mean nothing."""
    records = starts(cold={MISSES: 99, **(cold or {})}, warm=warm, peak_memory_bytes=2**30)
    return tuple(record.model_copy(update={"depth": Depth.COUNT}) for record in records)


def test_a_counted_run_is_compared_by_the_counters_of_the_engine(accepting: Accepting) -> None:
    assert accepting.one(model_entry(expect=[expectation()]), counted()).decision is Decision.UNCHANGED
    of_torch = expectation(cold={MISSES: 4}, warm={})
    assert accepting.one(model_entry(expect=[of_torch]), counted()).decision is Decision.REFUSED
    of_engine = expectation(cold={SAVED: 2}, warm={}, seconds={"cold": 9.0, "warm": 8.0})
    changed = accepting.one(model_entry(expect=[of_engine]), counted())
    assert (changed.decision, changed.changes) == (Decision.CHANGED, [Change(f"cold.{SAVED}", "2", "3")])
    assert changed.edits[0].expectation.seconds == of_engine.seconds, "counting does not measure times"


def test_a_counted_run_makes_an_expectation_of_what_it_measured(accepting: Accepting) -> None:
    older = expectation(when={"device": "cpu", "compilation": "piecewise", "vllm": "~=0.30.0"}, cold={MISSES: 4})
    decided = accepting.one(model_entry(expect=[older]), counted())
    new = decided.edits[0].expectation
    assert (decided.decision, decided.changes) == (Decision.NEW, [])
    assert (new.cold, new.warm) == ({SAVED: 3, LOADED: 0}, {SAVED: 0, LOADED: 3})
    assert (new.seconds, new.memory) == (None, None)
    assert new.measured.endswith(", Python 3.11, --depth count")


def test_infinity_in_a_config_is_no_difference(accepting: Accepting) -> None:
    published = tiny_config(time_step_limit=[0.0, float("inf")])
    folder = accepting.store(model_entry(), starts(), config=published)
    model = catalog_model(model_entry(), published, path=folder.parent / "tiny.toml")
    [decided] = accept([folder], Catalog([model]))
    assert decided.decision is Decision.NEW, decided.reasons


def test_settings_that_an_expectation_has_are_no_reason_to_refuse(accepting: Accepting) -> None:
    row = expectation(when={"device": "cpu", "options": {"max_num_seqs": 8}}, cold={SAVED: 2}, warm={})
    decided = accepting.one(model_entry(expect=[row]), WITH_OPTIONS)
    assert (decided.decision, decided.changes) == (Decision.CHANGED, [Change(f"cold.{SAVED}", "2", "3")])
    assert (decided.edits[0].expectation.when, decided.edits[0].expectation.seconds) == (row.when, None)


def test_a_known_issue_for_other_versions_is_named_if_it_breaks_the_same(accepting: Accepting) -> None:
    issue = known_issue(when={"device": "cpu", "vllm": "~=0.28.0"}, link="known-issues/one-too-many.md")
    decided = accepting.one(model_entry(known_issue=[issue]), one_more())
    assert decided.decision is Decision.REFUSED
    assert "known issue one-too-many breaks it too, but only if cpu, vllm ~=0.28.0" in decided.reasons[1]
    assert decided.reasons[1].endswith("extend its `when` (`coldwarm show one-too-many`)")


def test_a_counter_that_is_gone_is_an_error_in_place_and_left_out_for_new_versions(accepting: Accepting) -> None:
    gone = {SAVED: 3, "vllm.num_artifacts_saved": 3}
    decided = accepting.one(model_entry(expect=[expectation(when={"device": "cpu"}, cold=gone)]), starts())
    assert decided.decision is Decision.REFUSED
    assert "no counter 'vllm.num_artifacts_saved' in this version; nearest: " in decided.reasons[0]
    older = expectation(when={"device": "cpu", "compilation": "piecewise", "vllm": "~=0.30.0"}, cold=gone)
    decided = accepting.one(model_entry(expect=[older]), starts())
    assert decided.changes == [Change("cold.vllm.num_artifacts_saved", "3", "no such counter")]
    assert decided.edits[0].expectation.cold == {SAVED: 3, LOADED: 0, MISSES: 4}


def test_runs_under_the_same_conditions_must_agree(accepting: Accepting) -> None:
    entry = model_entry(layer_kinds=["dense", "MoE"])
    three, again, four = (accepting.store(entry, records) for records in (starts(), starts(), one_more()))
    [agreed] = accepting.decide(entry, three, again)
    assert agreed.decision is Decision.NEW
    [decided] = accepting.decide(entry, three, again, four)
    assert (decided.decision, decided.edits) == (Decision.REFUSED, [])
    assert f"cold.{SAVED} is 3 or 4" in decided.reasons[0]
    apart = accepting.store(entry, one_more(versions=NEWER))
    assert [each.decision for each in accepting.decide(entry, three, apart)] == [Decision.NEW, Decision.NEW]


def test_a_model_without_an_entry_is_refused(accepting: Accepting) -> None:
    bare = accepting.store(model_entry(), starts(), argument="my/config.json")
    [decided] = accepting.decide(model_entry(id="other"), bare)
    assert (decided.decision, decided.path) == (Decision.REFUSED, None)


def test_a_command_is_refused(accepting: Accepting) -> None:
    command = accepting.store(model_entry(), starts(), command=Command(words=["python", "x.py"], folder="/tmp"))
    [decided] = accepting.decide(model_entry(), command)
    assert (decided.decision, "a command of yours" in decided.reasons[0]) == (Decision.REFUSED, True)


def test_a_model_that_cannot_run_is_unsupported_and_one_that_ran_is_not(accepting: Accepting) -> None:
    entry = model_entry(unsupported=[{"reason": "no such attention", "devices": ["cpu"]}])
    assert accepting.one(entry, (None, None)).decision is Decision.UNSUPPORTED
    ran = accepting.one(entry, starts())
    assert (ran.decision, "declares it [[unsupported]] on cpu" in ran.reasons[0]) == (Decision.REFUSED, True)
