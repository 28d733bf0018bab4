from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.verdict import Status, Verdict, context_of, judge, unsupported
from coldwarm.core.crash_cause import CrashCause, CrashKind
from coldwarm.core.finding import Finding
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.model_entry import Expectation, ModelEntry
from coldwarm.core.record import Failure, LayerKind, Outcome, StartKind, StartRecord
from coldwarm.engines.base import load_vocabulary
from tests.support.explanations import launch_finding, moe_finding
from tests.support.records import (
    LOADED,
    MISSES,
    SAVED,
    cold_facts,
    cold_record,
    compiler_work,
    expectation,
    generated_tokens,
    known_issue,
    model_entry,
    sparse_attention_on_cpu,
    unfinished_record,
    warm_facts,
    warm_record,
)

OTHER_TOKENS = [token.model_copy(update={"token_id": 999}) for token in generated_tokens()]


WITHOUT_KERNELS = [each for each in InvariantId if each is not InvariantId.READY_NO_COMPILER]
"""The invariants of records in which kernel compilers were not observed."""


def verdict(*, cold: dict[str, int] | None = None, warm: dict[str, int] | None = None, **entry: Any) -> Verdict:
    """Judge a healthy pair whose counters are overridden by these."""
    return judge(model_entry(**entry), cold_record(counters=cold), warm_record(counters=warm), findings=[])


def failures(found: Verdict) -> list[str]:
    return [check.id for check in found.checks if not check.holds]


def test_a_healthy_pair_that_meets_its_expectation_passes() -> None:
    found = verdict(expect=[expectation()])
    assert found.status is Status.PASSED
    assert found.reasons == [] and found.notes == []
    assert len(found.checks) == len(WITHOUT_KERNELS) + 6


@pytest.mark.parametrize(
    ("cold", "warm", "broken"),
    [
        (cold_record(counters={LOADED: 1}), warm_record(), InvariantId.COMPILES),
        (cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4}), InvariantId.ONLY_UNIQUE),
        (cold_record(), warm_record(counters={SAVED: 3}), InvariantId.SAVES_NOTHING),
        (cold_record(), warm_record(counters={LOADED: 2}), InvariantId.LOADS_ALL),
        (cold_record(), warm_record(counters={MISSES: 1}), InvariantId.NO_COMPILER),
        (cold_record(), warm_record(compiler_work=compiler_work(code_generations=1)), InvariantId.NO_COMPILER),
        (cold_record(), warm_record(facts=warm_facts(generated=OTHER_TOKENS)), InvariantId.SAME_OUTPUT),
    ],
)
def test_a_single_failed_invariant_is_the_only_reason(
    cold: StartRecord, warm: StartRecord, broken: InvariantId
) -> None:
    found = judge(model_entry(), cold, warm, findings=[])
    assert found.status is Status.FAILED
    [check] = [check for check in found.checks if not check.holds]
    assert check.id == broken
    assert found.reasons == [check.words]


def test_all_reasons_are_reported() -> None:
    found = verdict(cold={LOADED: 1}, warm={SAVED: 1, MISSES: 1}, expect=[expectation(cold={SAVED: 2}, warm={})])
    assert found.status is Status.FAILED
    assert failures(found) == [
        InvariantId.COMPILES,
        InvariantId.SAVES_NOTHING,
        InvariantId.NO_COMPILER,
        f"expected:cold:{SAVED}",
    ]
    assert len(found.reasons) == 4


def test_drift_that_the_invariants_allow_fails_the_expectation() -> None:
    found = verdict(cold={SAVED: 2}, warm={LOADED: 2}, expect=[expectation()])
    assert found.status is Status.FAILED
    assert failures(found) == [f"expected:cold:{SAVED}", f"expected:warm:{LOADED}"]


def test_an_expectation_does_not_hide_a_broken_invariant() -> None:
    counters = {"cold": {SAVED: 4}, "warm": {LOADED: 4}}
    found = verdict(cold={SAVED: 4}, warm={LOADED: 4}, expect=[expectation(**counters)])
    assert found.status is Status.FAILED
    assert failures(found) == [InvariantId.ONLY_UNIQUE]


def test_a_known_issue_is_accepted() -> None:
    found = verdict(cold={SAVED: 4}, warm={LOADED: 4}, known_issue=[known_issue()])
    assert found.status is Status.KNOWN_ISSUE
    assert found.reasons == ["one unique subgraph too many (https://example.org/issues/1)"]


def test_a_known_issue_that_no_longer_occurs_is_unexpectedly_fixed() -> None:
    found = verdict(known_issue=[known_issue()])
    assert found.status is Status.UNEXPECTEDLY_FIXED
    [reason] = found.reasons
    assert reason.startswith("one-too-many: no longer occurs: ")
    assert reason.endswith("remove it from the catalog (https://example.org/issues/1)")


def test_a_known_issue_with_a_page_is_named_by_the_command_that_shows_it() -> None:
    issue = known_issue(link="known-issues/one-too-many.md")
    found = verdict(cold={SAVED: 4}, warm={LOADED: 4}, known_issue=[issue])
    assert found.reasons == ["one unique subgraph too many (coldwarm show one-too-many)"]
    [reason] = verdict(known_issue=[issue]).reasons
    assert reason.endswith("remove it from the catalog (`coldwarm show one-too-many`)")


def test_a_known_issue_that_got_worse_fails() -> None:
    found = verdict(cold={SAVED: 9}, warm={LOADED: 9}, known_issue=[known_issue()])
    assert found.status is Status.FAILED
    assert len(found.reasons) == 2
    assert found.reasons[1] == f"one-too-many: does not match the known issue: cold {SAVED} is 9 instead of 4"


def test_a_known_issue_of_another_platform_accepts_nothing() -> None:
    found = verdict(cold={SAVED: 4}, warm={LOADED: 4}, known_issue=[known_issue(when={"device": "cuda"})])
    assert found.status is Status.FAILED
    assert found.issues == []


def test_a_known_issue_of_another_platform_is_not_reported_as_fixed() -> None:
    assert verdict(known_issue=[known_issue(when={"device": "cuda"})]).status is Status.PASSED


def test_a_known_issue_does_not_excuse_another_failure() -> None:
    found = verdict(cold={SAVED: 4}, warm={LOADED: 4, SAVED: 1}, known_issue=[known_issue()])
    assert found.status is Status.FAILED
    assert found.reasons == ["warm start saved 1 artifact (expected 0)"]


def test_a_fixed_issue_is_reported_although_another_one_occurs() -> None:
    other = known_issue(id="saves-again", breaks="warm-saves-nothing", cold={}, warm={SAVED: 1})
    found = verdict(cold={SAVED: 4}, warm={LOADED: 4}, known_issue=[known_issue(), other])
    assert found.status is Status.UNEXPECTEDLY_FIXED
    assert [reason.partition(":")[0] for reason in found.reasons] == ["saves-again"]


def test_an_issue_included_in_expected_counters_can_be_unexpectedly_fixed() -> None:
    expected = expectation(cold={SAVED: 4, LOADED: 0}, warm={SAVED: 0, LOADED: 4})
    assert verdict(expect=[expected], known_issue=[known_issue()]).status is Status.UNEXPECTEDLY_FIXED


# If an entry does not name the kinds of layers, its limit depends on the layers of a real start.
PACKAGED = [
    (model.entry, expected)
    for model in Catalog.read().models()
    for expected in model.entry.expect
    # A model that a release does not compile with torch.compile has no artifacts to count.
    if model.entry.layer_kinds is not None and expected.cold[SAVED] > 0
]
of_the_catalog = pytest.mark.parametrize(
    ("entry", "expected"),
    PACKAGED,
    ids=lambda each: getattr(each, "id", str(each.when) if hasattr(each, "when") else None),
)


def packaged_run(
    expected: Expectation, cold: dict[str, int] | None = None, warm: dict[str, int] | None = None
) -> tuple[StartRecord, StartRecord]:
    """Return records with the measured counters of a packaged model, overridden by these."""
    # The oldest version that a specifier admits: 0.28 of `>=0.28,<0.30`, as it is written.
    versions = {
        name: spec.partition(",")[0].lstrip("~>=")
        for name, spec in (("torch", expected.when.torch), ("vllm", expected.when.vllm))
        if spec is not None
    }
    records = (
        cold_record(counters={**expected.cold, **(cold or {})}, device=expected.when.device),
        warm_record(counters={**expected.warm, **(warm or {})}, device=expected.when.device),
    )
    for record in records:
        assert record.facts is not None
        record.facts = record.facts.model_copy(
            update={"versions": versions, "aot_artifact": expected.when.aot_artifact}
        )
    return records


OF_DEEPSEEK = [launch_finding(2), launch_finding(3)]
"""Of its dense layers and of its MoE layers."""


def packaged_findings(expected: Expectation) -> list[Finding]:
    """Return the findings of a packaged model that was measured with a known issue of the engine."""
    found = {"first-moe-layer-on-cpu": [moe_finding()], "triton-kernel-index-in-graph": OF_DEEPSEEK}
    return [finding for name in expected.shows for finding in found[name]]


def issues_of(entry: ModelEntry, expected: Expectation) -> list[str]:
    """Return the known issues that occur in every run to which `expected` applies."""
    here = context_of(packaged_run(expected)[0])
    own = [issue.id for issue in entry.known_issue if issue.when.matches(here) and not issue.intermittent]
    return own + list(expected.shows)


def test_some_packaged_models_were_measured_with_known_issues_and_some_without() -> None:
    assert {bool(issues_of(entry, expected)) for entry, expected in PACKAGED} == {True, False}
    assert sum(bool(expected.shows) for _, expected in PACKAGED) == 17


@of_the_catalog
def test_measured_counts_of_a_packaged_model_are_accepted(entry: ModelEntry, expected: Expectation) -> None:
    issues = issues_of(entry, expected)
    found = judge(entry, *packaged_run(expected), packaged_findings(expected))
    assert (found.status, found.notes) == (Status.KNOWN_ISSUE if issues else Status.PASSED, [])
    assert [issue.id for issue in found.issues] == issues


@of_the_catalog
def test_any_other_count_of_a_packaged_model_fails(entry: ModelEntry, expected: Expectation) -> None:
    cold = {name: expected.cold[name] + 1 for name in (SAVED, MISSES) if name in expected.cold}
    records = packaged_run(expected, cold, {LOADED: expected.warm[LOADED] + 1})
    assert judge(entry, *records, packaged_findings(expected)).status is Status.FAILED


@of_the_catalog
def test_a_packaged_model_without_its_known_issues_is_unexpectedly_fixed(
    entry: ModelEntry, expected: Expectation
) -> None:
    assert entry.layer_kinds is not None
    saved = min(expected.cold[SAVED], len(entry.layer_kinds) + 2)
    healthy = packaged_run(expected, {SAVED: saved}, {SAVED: 0, LOADED: saved, MISSES: 0})
    found = judge(entry, *healthy, findings=[])
    issues = issues_of(entry, expected)
    assert found.status is (Status.UNEXPECTEDLY_FIXED if issues else Status.PASSED)
    assert [issue.id for issue in found.issues if not issue.shows] == issues


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT])
@pytest.mark.parametrize("kind", list(StartKind))
def test_a_start_that_did_not_finish_is_an_error(kind: StartKind, outcome: Outcome) -> None:
    record = unfinished_record(kind, outcome)
    records = (record, None) if kind is StartKind.COLD else (cold_record(), record)
    found = judge(model_entry(), *records)
    assert found.status is Status.ERROR
    assert found.reasons == [f"the {kind} start {outcome} in phase 'weights': ValueError: no such thing"]
    assert found.checks == []


def test_an_error_without_a_phase() -> None:
    failure = Failure(what="the process was killed by SIGKILL", signal="SIGKILL")
    found = judge(model_entry(), unfinished_record(failure=failure), None)
    assert found.reasons == ["the cold start crashed: the process was killed by SIGKILL"]


def test_an_error_without_a_failure_is_reported_by_its_outcome() -> None:
    found = judge(model_entry(), unfinished_record(outcome=Outcome.TIMED_OUT, failure=None), None)
    assert found.reasons == ["the cold start timed out: timed out"]


def test_what_the_device_cannot_run_is_unsupported_with_the_reason_of_the_engine() -> None:
    cold = unfinished_record(failure=sparse_attention_on_cpu())
    found = judge(model_entry(), cold, None)
    assert found.status is Status.UNSUPPORTED
    assert found.reasons == ["Sparse Attention is not supported on CPU. (vllm/platforms/cpu.py:150)"]
    assert found.crash_cause is not None and found.crash_cause.kind is CrashKind.DEVICE
    # Not if the model ran on this device when its expectations were measured.
    regressed = judge(model_entry(expect=[expectation()]), cold, None)
    assert regressed.status is Status.ERROR
    assert regressed.reasons[1] == "the catalog has expectations for cpu, so this model ran there before"
    elsewhere = judge(model_entry(expect=[expectation(when={"device": "cuda"})]), cold, None)
    assert elsewhere.status is Status.UNSUPPORTED


def test_a_warm_start_that_cannot_run_is_an_error() -> None:
    warm = unfinished_record(StartKind.WARM, failure=sparse_attention_on_cpu())
    assert judge(model_entry(), cold_record(), warm).status is Status.ERROR


@pytest.mark.parametrize(
    ("kind", "status"), [(CrashKind.CONFIG, Status.ERROR), (CrashKind.RELEASE, Status.UNSUPPORTED)]
)
def test_a_config_is_the_users_and_a_release_is_not(
    kind: CrashKind, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = CrashCause(kind=kind, reason="no such thing", raised_in="vllm/x.py:1")
    names = replace(load_vocabulary("vllm"), crash_cause=lambda record: cause)
    monkeypatch.setattr("coldwarm.checks.verdict.load_vocabulary", lambda engine: names)
    found = judge(model_entry(expect=[expectation()]), unfinished_record(), None)
    assert (found.status, found.crash_cause) == (status, cause)
    assert found.reasons[0] == "no such thing (vllm/x.py:1)"


def test_a_known_issue_does_not_excuse_a_crash() -> None:
    found = judge(model_entry(known_issue=[known_issue()]), cold_record(), unfinished_record(StartKind.WARM))
    assert found.status is Status.ERROR


@pytest.mark.parametrize(
    ("cold", "warm", "missing"),
    [(None, None, "cold"), (cold_record(), None, "warm"), (None, warm_record(), "cold")],
)
def test_a_start_that_was_not_run_is_an_error(cold: StartRecord | None, warm: StartRecord | None, missing: str) -> None:
    found = judge(model_entry(), cold, warm)
    assert found.status is Status.ERROR
    assert found.reasons == [f"the {missing} start was not run"]


def test_unsupported_has_its_reason() -> None:
    found = unsupported("no kernel")
    assert (found.status, found.reasons) == (Status.UNSUPPORTED, ["no kernel"])


def test_a_run_without_an_expectation_is_noted() -> None:
    found = verdict(expect=[expectation(when={"device": "cuda"})])
    assert found.status is Status.PASSED
    assert found.notes == [
        "no expectation for cpu, piecewise, torch 2.13.0+cpu, vllm 0.32.0: only the invariants were checked"
    ]


def test_derived_layer_kinds_are_noted() -> None:
    found = verdict(layer_kinds=None, expect=[expectation()])
    assert found.status is Status.PASSED
    assert found.notes == [
        "1 layer kind, derived from the classes and parameter shapes of its layers: 8 LlamaDecoderLayer"
    ]


def test_several_derived_layer_kinds_are_noted() -> None:
    cold = cold_record()
    cold.processes[0].layer_kinds = [
        LayerKind(layer_class="Dense", layers=1, parameters=6),
        LayerKind(layer_class="MoE", layers=7, parameters=8),
    ]
    found = judge(model_entry(layer_kinds=None, expect=[expectation()]), cold, warm_record())
    assert found.notes[0].startswith("2 layer kinds, derived from")
    assert found.notes[0].endswith(": 1 Dense, 7 MoE")


def test_starts_of_different_versions_are_not_from_the_same_run() -> None:
    warm = warm_record(facts=warm_facts(versions={"torch": "2.14.0", "vllm": "0.32.0"}))
    found = judge(model_entry(expect=[expectation()]), cold_record(), warm)
    assert found.status is Status.ERROR
    assert found.reasons == ["the two records are not from the same run: torch 2.13.0+cpu cold, 2.14.0 warm"]


def test_starts_on_different_devices_are_not_from_the_same_run() -> None:
    found = judge(model_entry(), cold_record(device="cuda"), warm_record(device="cpu"))
    assert (found.status, found.reasons) == (
        Status.ERROR,
        ["the two records are not from the same run: device cuda cold, cpu warm"],
    )


def test_two_cold_starts_are_no_run() -> None:
    found = judge(model_entry(), cold_record(), cold_record())
    assert (found.status, found.reasons) == (
        Status.ERROR,
        ["expected the records of a cold and a warm start, got cold and cold"],
    )


def test_a_finished_record_without_facts_is_an_error() -> None:
    assert judge(model_entry(), cold_record(facts=None), warm_record()).status is Status.ERROR


def test_a_warm_trace_with_malformed_lines_does_not_rule_out_code_generation() -> None:
    found = judge(model_entry(), cold_record(), warm_record(compiler_work=compiler_work(garbled_lines=1)))
    assert found.status is Status.FAILED
    assert found.reasons[0].endswith("1 line of the trace could not be read")


def test_the_context_is_that_of_the_record() -> None:
    context = context_of(cold_record(device="cuda", compilation="shipped"))
    assert (context.device, context.compilation) == ("cuda", "shipped")
    assert context.versions["torch"] == "2.13.0+cpu"
    assert context_of(unfinished_record()).versions == {}


def test_rejudging_stored_records_gives_the_same_verdict() -> None:
    entry = model_entry(known_issue=[known_issue()], expect=[expectation(cold={SAVED: 4}, warm={})])
    cold, warm = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4})
    first = judge(entry, cold, warm)
    stored = (StartRecord.model_validate_json(record.model_dump_json()) for record in (cold, warm))
    again = judge(ModelEntry.model_validate_json(entry.model_dump_json()), next(stored), next(stored))
    assert first == again == judge(entry, cold, warm)
    assert Verdict.model_validate_json(first.model_dump_json()) == first


def test_a_warm_start_with_a_different_kind_of_artifact_is_judged() -> None:
    # `--warm-env VLLM_USE_MEGA_AOT_ARTIFACT=0`: whether it invalidates the cache is what the user wants to know.
    cold, warm = cold_record(), warm_record()
    assert cold.facts is not None and warm.facts is not None
    cold.facts.aot_artifact, warm.facts.aot_artifact = "bundled", "separate"
    assert judge(model_entry(), cold, warm).status is Status.PASSED


def test_a_model_without_layers_does_not_fail_an_unchecked_limit() -> None:
    facts = cold_facts(layer_kinds=[], counters={SAVED: 6})
    verdict = judge(model_entry(layer_kinds=None), cold_record(facts=facts), warm_record(counters={LOADED: 6}))
    assert verdict.status is Status.PASSED
    [check] = [check for check in verdict.checks if check.id == "cold-only-unique"]
    assert "not checked, because no layers were found" in check.words
    assert not check.is_checked
    assert check.words in verdict.notes
