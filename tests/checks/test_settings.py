"""Expectations and known issues apply only with the settings that they were measured with."""

from __future__ import annotations

from typing import Any

import pytest

from coldwarm.checks.verdict import Status, Verdict, context_of, judge
from coldwarm.core.checks import Check
from coldwarm.core.depth import Depth
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import StartRecord
from tests.support.records import (
    LOADED,
    SAVED,
    cold_record,
    expectation,
    known_issue,
    model_entry,
    warm_facts,
    warm_record,
)

FOUR_LAYERS = {"hf_overrides": {"num_hidden_layers": 4}}
HERE = {"device": "cpu", "compilation": "piecewise"}


def run_with(
    entry: ModelEntry,
    *,
    cold: dict[str, int] | None = None,
    warm: dict[str, int] | None = None,
    **settings: Any,
) -> Verdict:
    """Judge a pair of starts that both have these options and variables."""
    return judge(entry, cold_record(counters=cold, **settings), warm_record(counters=warm, **settings), findings=[])


def expected(verdict: Verdict) -> list[Check]:
    return [check for check in verdict.checks if check.id.startswith("expected:")]


def drifted() -> ModelEntry:
    """Return an entry whose expected counters differ from those of healthy starts."""
    return model_entry(expect=[expectation(when=HERE, cold={SAVED: 2}, warm={LOADED: 2})])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"options": FOUR_LAYERS}, "hf_overrides.num_hidden_layers=4"),
        ({"environment": {"VLLM_USE_LAYERNAME": "0"}}, "VLLM_USE_LAYERNAME=0"),
        ({"environment": {"TORCHINDUCTOR_FREEZING": "1"}}, "TORCHINDUCTOR_FREEZING=1"),
        ({"environment": {"VLLM_USE_FLASHINFER_SAMPLER": "1"}}, "VLLM_USE_FLASHINFER_SAMPLER=1"),
    ],
)
def test_an_expectation_is_not_checked_with_other_settings_and_a_note_names_them(
    settings: dict[str, Any], named: str
) -> None:
    verdict = run_with(drifted(), **settings)
    assert (verdict.status, expected(verdict)) == (Status.PASSED, [])
    assert verdict.notes == [f"expectations for cpu, piecewise were not checked: they were measured without {named}"]


@pytest.mark.parametrize(
    "environment",
    [
        # Not in vLLM's compile key.
        {"VLLM_LOGGING_LEVEL": "DEBUG"},
        {"VLLM_LOG_STATS_INTERVAL": "77"},
        # Possibly in a key, but without influence on the graph.
        {"VLLM_RPC_TIMEOUT": "10001"},
        {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
        {"PYTORCH_SKIP_CUDNN_COMPATIBILITY_CHECK": "1"},
        # Threads and the toolchain.
        {"OMP_NUM_THREADS": "1", "OMPI_MCA_plm": "isolated"},
        {"CC": "/opt/gcc/bin/gcc", "CUDA_HOME": "/usr/local/cuda", "LD_PRELOAD": "libtcmalloc.so"},
        # A separate condition, and a value that coldwarm sets itself.
        {"VLLM_USE_MEGA_AOT_ARTIFACT": "0"},
        {"VLLM_USE_FLASHINFER_SAMPLER": "0"},
    ],
    ids=lambda environment: min(environment),
)
def test_expectations_are_checked_with_variables_that_do_not_affect_compilation(environment: dict[str, str]) -> None:
    verdict = run_with(drifted(), environment=environment)
    assert (verdict.status, len(expected(verdict)), verdict.notes) == (Status.FAILED, 2, [])


def test_an_expectation_measured_with_settings_applies_only_with_them() -> None:
    when = {**HERE, "options": FOUR_LAYERS, "environment": {"VLLM_USE_LAYERNAME": "0"}}
    entry = model_entry(expect=[expectation(when=when, cold={SAVED: 2}, warm={})])
    environment = {"VLLM_USE_LAYERNAME": "0"}
    assert run_with(entry, options=FOUR_LAYERS, environment=environment).status is Status.FAILED
    assert run_with(entry, options=FOUR_LAYERS).notes == [
        "expectations for cpu, piecewise were not checked: they were measured with VLLM_USE_LAYERNAME=0"
    ]
    other = {"hf_overrides": {"num_hidden_layers": 2}}
    assert run_with(entry, options=other, environment=environment).notes == [
        "expectations for cpu, piecewise were not checked: they were measured with hf_overrides.num_hidden_layers=4"
    ]


def test_if_one_expectation_applies_those_with_other_settings_are_not_mentioned() -> None:
    with_layers = expectation(when={**HERE, "options": FOUR_LAYERS}, cold={SAVED: 2}, warm={})
    entry = model_entry(expect=[expectation(when=HERE), with_layers])
    verdict = run_with(entry)
    assert (verdict.status, verdict.notes) == (Status.PASSED, [])


def test_an_expectation_of_another_platform_is_not_mentioned() -> None:
    entry = model_entry(expect=[expectation(when={"device": "cuda"})])
    [note] = run_with(entry, options=FOUR_LAYERS).notes
    assert note.startswith("no expectation for cpu, piecewise")


def test_the_value_of_a_secret_is_not_in_a_note() -> None:
    [note] = run_with(drifted(), options={"api_key": "k-123456"}, environment={}).notes
    assert "api_key" in note and "k-123456" not in note


def test_a_known_issue_accepts_nothing_with_other_settings() -> None:
    entry = model_entry(known_issue=[known_issue()])
    verdict = run_with(entry, cold={SAVED: 4}, warm={LOADED: 4}, options=FOUR_LAYERS)
    assert (verdict.status, verdict.issues) == (Status.FAILED, [])
    assert verdict.notes[-1] == (
        "known issue one-too-many was not considered: it was measured without hf_overrides.num_hidden_layers=4"
    )


def test_a_known_issue_is_not_reported_as_fixed_with_other_settings() -> None:
    verdict = run_with(model_entry(known_issue=[known_issue()]), options=FOUR_LAYERS)
    assert (verdict.status, verdict.issues) == (Status.PASSED, [])


def test_a_known_issue_of_another_platform_is_not_mentioned() -> None:
    entry = model_entry(expect=[expectation(when=HERE)], known_issue=[known_issue(when={"device": "cuda"})])
    assert run_with(entry, options=FOUR_LAYERS).notes == [
        "expectations for cpu, piecewise were not checked: they were measured without hf_overrides.num_hidden_layers=4"
    ]


CHANGED = "they were measured without additional_config.x=1 in the warm start"


def changed_warm(**counters: int) -> StartRecord:
    names = {"saved": SAVED, "loaded": LOADED}
    return warm_record(
        options={"additional_config": {"x": 1}}, counters={names[name]: count for name, count in counters.items()}
    )


def test_a_changed_warm_start_is_not_compared_with_counters_measured_without_the_change() -> None:
    entry = model_entry(expect=[expectation(when=HERE, cold={SAVED: 2}, warm={LOADED: 2})])
    verdict = judge(entry, cold_record(), changed_warm())
    assert [check.id for check in expected(verdict)] == [f"expected:cold:{SAVED}"]
    assert verdict.notes == [f"expectations of the warm start for cpu, piecewise were not checked: {CHANGED}"]


def test_a_changed_warm_start_that_recompiles_fails() -> None:
    entry = model_entry(expect=[expectation(when=HERE)])
    verdict = judge(entry, cold_record(), changed_warm(saved=3, loaded=0))
    assert verdict.status is Status.FAILED
    assert [check.id for check in verdict.checks if not check.holds] == ["warm-saves-nothing", "warm-loads-all"]


@pytest.mark.parametrize(
    ("variable", "compared"), [("VLLM_LOG_STATS_INTERVAL", True), ("VLLM_DISABLE_LOG_LOGO", False)]
)
def test_a_variable_of_only_the_warm_start_matters_if_it_may_be_in_the_key(variable: str, compared: bool) -> None:
    entry = model_entry(expect=[expectation(when=HERE)])
    verdict = judge(entry, cold_record(), warm_record(environment={variable: "1"}))
    assert len(expected(verdict)) == (6 if compared else 3)
    assert bool(verdict.notes) is not compared


def test_a_warm_start_with_a_different_kind_of_artifact_is_not_compared() -> None:
    entry = model_entry(expect=[expectation(when=HERE)])
    cold = cold_record()
    assert cold.facts is not None
    cold.facts.aot_artifact = "bundled"
    verdict = judge(entry, cold, warm_record(facts=warm_facts(aot_artifact="separate")))
    assert len(expected(verdict)) == 3
    [note] = verdict.notes
    assert note.endswith("measured with aot_artifact=bundled in the warm start")


def test_a_known_issue_of_the_warm_start_is_not_considered_in_a_changed_one() -> None:
    saves_again = known_issue(
        breaks=["warm-saves-nothing", "warm-loads-all"], cold={}, warm={SAVED: 3, LOADED: 0}, when=HERE
    )
    verdict = judge(model_entry(known_issue=[saves_again]), cold_record(), changed_warm(saved=3, loaded=0))
    assert verdict.status is Status.FAILED
    assert (
        verdict.notes[-1] == f"known issue one-too-many was not considered: it was {CHANGED.removeprefix('they were ')}"
    )


@pytest.mark.parametrize("symptom", [{"warm": {LOADED: 3}}, {"rewrites": "*.best_config", "intermittent": True}])
def test_an_issue_with_a_symptom_in_the_warm_start_is_one_of_the_warm_start(
    symptom: dict[str, Any],
) -> None:
    verdict = judge(model_entry(known_issue=[known_issue(**symptom)]), cold_record(), changed_warm())
    assert verdict.notes[-1].endswith(CHANGED.removeprefix("they were "))


def test_a_known_issue_of_the_cold_start_is_accepted_if_the_warm_start_is_changed() -> None:
    entry = model_entry(known_issue=[known_issue()])
    verdict = judge(entry, cold_record(counters={SAVED: 4}), changed_warm(loaded=4))
    assert verdict.status is Status.KNOWN_ISSUE


def test_a_trace_has_no_warm_start_to_compare() -> None:
    entry = model_entry(expect=[expectation(when=HERE, cold={SAVED: 3}, warm={LOADED: 3})])
    verdict = judge(entry, cold_record(depth=Depth.TRACE), None)
    assert (verdict.status, verdict.notes) == (Status.PASSED, [])


def test_the_context_has_the_settings_of_the_start() -> None:
    record = cold_record(
        options=FOUR_LAYERS, environment={"VLLM_USE_LAYERNAME": "0", "OMP_NUM_THREADS": "1", "VLLM_PORT": "1"}
    )
    context = context_of(record)
    assert context.options == {"hf_overrides.num_hidden_layers": "4"}
    assert context.environment == {"VLLM_USE_LAYERNAME": "0"}
    stored = StartRecord.model_validate_json(record.model_dump_json())
    assert context_of(stored) == context


def with_ineffective(record: StartRecord, used: str | None) -> StartRecord:
    assert record.facts is not None
    if used is not None:
        record.facts.ineffective_options = {"compilation_config.compile_sizes": used}
    return record


@pytest.mark.parametrize(
    ("cold", "warm", "notes"),
    [
        ("[]", "[]", ["compilation_config.compile_sizes=[1] has no effect here: vLLM used []"]),
        (
            None,
            "[]",
            ["in the warm start, compilation_config.compile_sizes=[1] has no effect here: vLLM used []"],
        ),
        (None, None, []),
    ],
)
def test_an_option_without_effect_is_noted(cold: str | None, warm: str | None, notes: list[str]) -> None:
    options = {"compilation_config": {"compile_sizes": [1]}}
    records = (
        with_ineffective(cold_record(options=options), cold),
        with_ineffective(warm_record(options=options), warm),
    )
    verdict = judge(model_entry(), *records)
    assert verdict.status is Status.PASSED
    assert [note for note in verdict.notes if "no effect" in note] == notes


def test_an_option_without_effect_is_noted_if_there_is_no_warm_start() -> None:
    options = {"compilation_config": {"compile_sizes": [1]}}
    cold = with_ineffective(cold_record(options=options, depth=Depth.TRACE), "[]")
    assert "has no effect here: vLLM used []" in judge(model_entry(), cold, None).notes[-1]
