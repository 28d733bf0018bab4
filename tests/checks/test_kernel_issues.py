"""Known issues of the engine accept kernels only if their findings account for all of them."""

from __future__ import annotations

from typing import Any

import pytest

from coldwarm.checks.verdict import Status, Verdict, judge
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.kernels import KernelEvent, KernelOutcome
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.diagnose.kernels import kernel_findings
from tests.support.records import (
    MISSES,
    VERSIONS,
    cached_kernel,
    cold_facts,
    cold_record,
    kernel_event,
    kernel_events,
    known_issue,
    model_entry,
    warm_facts,
    warm_record,
)

CUTE_DSL = "cute-dsl-kernels-are-not-cached"
WGEMM = [kernel_event(number) for number in range(64)]


def starts(
    *compiled: KernelEvent, misses: int = 0, vllm: str = "0.33.0", device: str = "cuda"
) -> tuple[StartRecord, StartRecord]:
    """Return a run of which both starts compiled the same kernels."""
    versions = {**VERSIONS, "vllm": vllm}
    loaded = cached_kernel(kernel="_loaded", outcome=KernelOutcome.LOADED)
    cold = cold_record(facts=cold_facts(versions=versions, kernels=kernel_events(*compiled)), device=device)
    facts = warm_facts(versions=versions, kernels=kernel_events(*compiled, loaded), counters={MISSES: misses})
    return cold, warm_record(facts=facts, device=device)


def findings_of(cold: StartRecord, warm: StartRecord) -> list[Finding]:
    return kernel_findings(cold, warm, {kind: [] for kind in StartKind})


def verdict_of(*compiled: KernelEvent, entry: dict[str, Any] | None = None, **fields: Any) -> Verdict:
    cold, warm = starts(*compiled, **fields)
    return judge(model_entry(**(entry or {})), cold, warm, findings_of(cold, warm))


def test_cute_dsl_kernels_without_a_cache_are_accepted_in_any_model() -> None:
    verdict = verdict_of(*WGEMM)
    assert verdict.status is Status.KNOWN_ISSUE
    [broken] = [check for check in verdict.checks if not check.holds]
    assert (broken.id, broken.accepted_by, broken.accepted_in_part_by) == ("warm-no-compiler", CUTE_DSL, [])
    [reason] = verdict.reasons
    assert reason.endswith("(coldwarm show cute-dsl-kernels-are-not-cached)")


def test_several_kernels_of_cute_dsl_are_accepted() -> None:
    assert verdict_of(*WGEMM, kernel_event(99, kernel="GdnPrefill")).status is Status.KNOWN_ISSUE


@pytest.mark.parametrize("place", [{"vllm": "0.32.0"}, {"vllm": "0.34.0"}, {"device": "cpu"}])
def test_it_is_not_considered_elsewhere(place: dict[str, Any]) -> None:
    verdict = verdict_of(*WGEMM, **place)
    assert (verdict.status, verdict.issues) == (Status.FAILED, [])


def test_another_kernel_fails_and_the_reason_names_it() -> None:
    verdict = verdict_of(*WGEMM, cached_kernel())
    assert verdict.status is Status.FAILED
    assert verdict.reasons[1] == (
        f"{CUTE_DSL}: does not account for all kernels that were compiled: Triton _rope_kernel (0 of 1 key)"
    )


@pytest.mark.parametrize(
    "other",
    [
        kernel_event(99, cache_folder="/cache/cute", kernel="LLFp32WGemm"),
        kernel_event(99, cache_folder="/cache/cute", kernel="Other"),
    ],
    ids=["same kernel", "other kernel"],
)
def test_a_key_that_is_recompiled_for_another_reason_fails(other: KernelEvent) -> None:
    verdict = verdict_of(*WGEMM, other)
    assert verdict.status is Status.FAILED
    assert "does not account for all kernels" in verdict.reasons[1]


@pytest.mark.parametrize("why_not_cached", [None, "a configuration has a pre_hook"])
def test_a_kernel_for_which_cute_compile_is_not_the_reason_fails(why_not_cached: str | None) -> None:
    other = kernel_event(99, kernel="Other", why_not_cached=why_not_cached)
    assert verdict_of(*WGEMM, other).status is Status.FAILED


def test_a_kernel_that_the_cold_start_did_not_compile_fails() -> None:
    cold, _ = starts()
    _, warm = starts(*WGEMM)
    assert judge(model_entry(), cold, warm, findings_of(cold, warm)).status is Status.FAILED


@pytest.mark.parametrize("keys", [63, 65])
def test_findings_that_account_for_fewer_or_more_keys_are_not_accepted(keys: int) -> None:
    cold, warm = starts(*WGEMM)
    [finding] = findings_of(cold, warm)
    changed = finding.model_copy(update={"keys": keys})
    assert judge(model_entry(), cold, warm, [changed]).status is Status.FAILED


def test_a_finding_with_another_detail_is_not_recognized() -> None:
    cold, warm = starts(*WGEMM)
    [finding] = findings_of(cold, warm)
    changed = finding.model_copy(update={"details": ["`options`: a cold, b warm"]})
    assert judge(model_entry(), cold, warm, [changed]).status is Status.FAILED


def test_a_miss_of_torch_compile_fails() -> None:
    verdict = verdict_of(*WGEMM, misses=1)
    assert verdict.status is Status.FAILED
    assert verdict.reasons[1] == f"{CUTE_DSL}: accounts only for the kernels that were compiled"


def test_an_issue_of_the_model_and_one_of_the_engine_can_account_for_a_failure_together() -> None:
    entry = {
        "known_issue": [known_issue(breaks="warm-no-compiler", cold={}, warm={MISSES: 1}, when={"device": "cuda"})]
    }
    verdict = verdict_of(*WGEMM, misses=1, entry=entry)
    assert verdict.status is Status.KNOWN_ISSUE
    [broken] = [check for check in verdict.checks if not check.holds]
    assert (broken.accepted_by, broken.accepted_in_part_by) == ("one-too-many", [CUTE_DSL])
    assert len(verdict.reasons) == 2
    # Each alone accepts only its own part.
    assert verdict_of(*WGEMM, cached_kernel(), misses=1, entry=entry).status is Status.FAILED
    assert verdict_of(*WGEMM, misses=2, entry=entry).status is Status.FAILED


def test_it_does_not_accept_what_is_compiled_after_ready() -> None:
    verdict = verdict_of(*WGEMM, kernel_event(99, phase="generate"))
    assert verdict.status is Status.FAILED
    broken = {check.id: check.accepted_by for check in verdict.checks if not check.holds}
    assert broken == {"warm-no-compiler": CUTE_DSL, "ready-no-compiler": None}


def test_without_an_explanation_it_is_not_recognized_and_a_reason_reports_it() -> None:
    verdict = judge(model_entry(), *starts(*WGEMM), None)
    assert verdict.status is Status.FAILED
    assert verdict.reasons[1] == f"{CUTE_DSL}: cannot be recognized, because the run was not explained"


def test_a_failure_without_kernels_is_no_reason_to_look_for_it() -> None:
    cold, warm = starts(misses=1)
    verdict = judge(model_entry(), cold, warm, None)
    assert verdict.status is Status.FAILED
    assert CUTE_DSL not in [issue.id for issue in verdict.issues]


def test_a_verdict_with_kernels_is_stored_and_read() -> None:
    verdict = verdict_of(*WGEMM)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_a_finding_of_another_kind_is_not_recognized() -> None:
    cold, warm = starts(*WGEMM)
    [finding] = findings_of(cold, warm)
    changed = finding.model_copy(update={"kind": FindingKind.UNEXPLAINED})
    assert judge(model_entry(), cold, warm, [changed]).issues == []


FIRST_REQUEST = "kernels-compiled-at-the-first-request"


def verdict_of_late(cold: list[KernelEvent], warm: list[KernelEvent]) -> Verdict:
    """Return the verdict of a run whose starts compiled these kernels."""
    versions = {**VERSIONS, "vllm": "0.33.0"}
    of_cold = cold_record(facts=cold_facts(versions=versions, kernels=kernel_events(*cold)), device="cuda")
    of_warm = warm_record(facts=warm_facts(versions=versions, kernels=kernel_events(*warm)), device="cuda")
    return judge(model_entry(), of_cold, of_warm, findings_of(of_cold, of_warm))


def late(**fields: Any) -> KernelEvent:
    return cached_kernel(phase="generate", **fields)


def test_kernels_that_the_first_request_after_a_cold_start_compiles_are_accepted() -> None:
    loaded = late(outcome=KernelOutcome.LOADED)
    verdict = verdict_of_late([late(), late(kernel="fused_moe_kernel")], [loaded])
    assert verdict.status is Status.KNOWN_ISSUE
    broken = {check.id: check.accepted_by for check in verdict.checks if not check.holds}
    assert broken == {"ready-no-compiler": FIRST_REQUEST}


def test_a_kernel_that_the_first_request_after_a_warm_start_compiles_fails() -> None:
    for cold in ([late()], []):
        broken = {check.id: check.accepted_by for check in verdict_of_late(cold, [late()]).checks if not check.holds}
        assert broken == {"warm-no-compiler": None, "ready-no-compiler": None}


def test_a_kernel_of_a_compiler_that_was_never_seen_to_do_so_fails() -> None:
    other = kernel_event(phase="generate")
    assert other.compiler == "CuTe DSL"
    assert verdict_of_late([other], []).status is Status.FAILED


TWICE = "cute-dsl-kernels-compiled-twice"


def twice(components: tuple[dict[str, str], dict[str, str]], keys: int = 1) -> Verdict:
    events = [kernel_event(number, components=each) for number in range(keys) for each in components]
    cold, warm = starts(*events)
    return judge(model_entry(), cold, warm, findings_of(cold, warm))


def test_a_kernel_that_is_compiled_twice_for_what_does_not_change_it_is_accepted() -> None:
    verdict = twice(({"arguments": "rows=1024"}, {"arguments": "rows=8"}), keys=2)
    assert verdict.status is Status.KNOWN_ISSUE
    assert [check.accepted_by for check in verdict.checks if not check.holds] == [TWICE, CUTE_DSL]


def test_a_kernel_that_is_compiled_twice_although_nothing_differs_is_a_failure() -> None:
    verdict = twice(({"arguments": "rows=8"}, {"arguments": "rows=8"}))
    assert verdict.status is Status.FAILED


TOPK = "grouped-topk-misses-its-cache"


def of_topk(misses: int, **fields: Any) -> Finding:
    """Return the finding as earlier versions stored it, with the number of misses in the message only."""
    where = "vllm/model_executor/layers/fused_moe/router/grouped_topk_router.py:76"
    values = {
        "kind": FindingKind.COMPILED_OUTSIDE,
        "start": StartKind.WARM,
        "what": f"standalone torch.compile of grouped_topk ({where}) missed the AOTAutograd cache "
        f"({misses} of 3 compilations)",
        "where": where,
        "details": [f"{misses} of {misses} keys are the same as in the cold start, which did not save their results"],
    }
    return Finding(**{**values, **fields})


@pytest.mark.parametrize("kernels", [[], WGEMM])
def test_misses_of_grouped_topk_are_accepted_beside_kernels(kernels: list[KernelEvent]) -> None:
    cold, warm = starts(*kernels, misses=1)
    verdict = judge(model_entry(), cold, warm, [*findings_of(cold, warm), of_topk(1)])
    assert verdict.status is Status.KNOWN_ISSUE
    [broken] = [check for check in verdict.checks if not check.holds]
    assert {broken.accepted_by, *broken.accepted_in_part_by} == ({TOPK, CUTE_DSL} if kernels else {TOPK})


@pytest.mark.parametrize(
    ("misses", "fields"),
    [
        (2, {}),
        (1, {"where": "vllm/other.py:76"}),
        (1, {"details": ["the compiler's key: inductor_config: a | b"]}),
    ],
)
def test_other_misses_are_a_failure(misses: int, fields: dict[str, Any]) -> None:
    cold, warm = starts(misses=misses)
    assert judge(model_entry(), cold, warm, [of_topk(1, **fields)]).status is Status.FAILED
