"""The invariants of kernel compilers, beside torch.compile."""

from __future__ import annotations

from typing import Any

import pytest

from coldwarm.checks.invariants import Starts, check_invariants
from coldwarm.checks.verdict import Status, Verdict, judge
from coldwarm.core.checks import Check
from coldwarm.core.depth import Depth
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.kernels import Compiler, CompilerStatus, KernelEvent, KernelOutcome
from coldwarm.core.record import ProcessReport, StartRecord
from tests.support.records import (
    LOADED,
    MISSES,
    SAVED,
    cached_kernel,
    cold_facts,
    cold_record,
    compiler_work,
    expectation,
    kernel_event,
    kernel_events,
    known_issue,
    model_entry,
    warm_facts,
    warm_record,
)

NOTHING = {SAVED: 0, LOADED: 0, MISSES: 0}
NOT_DECORATED = "no class of DeepseekV32 is decorated with support_torch_compile"
LOADED_KERNEL = cached_kernel(outcome=KernelOutcome.LOADED)


def cold(*events: KernelEvent, dropped: int = 0, **fields: Any) -> StartRecord:
    return cold_record(kernels=kernel_events(*events, dropped=dropped), **fields)


def warm(*events: KernelEvent, dropped: int = 0, **fields: Any) -> StartRecord:
    return warm_record(kernels=kernel_events(*events, dropped=dropped), **fields)


def verdict_of(cold: StartRecord, warm: StartRecord) -> Verdict:
    return judge(model_entry(expect=[expectation()]), cold, warm)


def checks_of(cold: StartRecord, warm: StartRecord) -> dict[str, Check]:
    return {check.id: check for check in check_invariants(Starts(cold, warm, model_entry()))}


def test_if_all_kernels_are_loaded_seven_invariants_pass() -> None:
    verdict = verdict_of(cold(cached_kernel(), kernel_event()), warm(LOADED_KERNEL))
    assert (verdict.status, verdict.notes) == (Status.PASSED, [])
    assert [check.id for check in verdict.checks[:7]] == list(InvariantId)
    words = {check.id: check.words for check in verdict.checks}
    assert words[InvariantId.ONLY_UNIQUE].endswith("; no kernel was compiled twice with the same key")
    assert words[InvariantId.NO_COMPILER].endswith("; no kernel was compiled by another compiler (expected none)")
    assert words[InvariantId.READY_NO_COMPILER] == "after the engine was ready, nothing was compiled"


def test_records_without_kernels_are_judged_as_before() -> None:
    verdict = verdict_of(cold_record(), warm_record())
    assert InvariantId.READY_NO_COMPILER not in [check.id for check in verdict.checks]
    assert not any("kernel" in check.words for check in verdict.checks)


# Invariant 5


def test_a_kernel_that_is_compiled_in_the_warm_start_is_a_failure_with_its_reason() -> None:
    events = [kernel_event(number, why_not_cached="cute.compile has no cache on disk") for number in range(64)]
    verdict = verdict_of(cold(*events), warm(*events))
    assert verdict.status is Status.FAILED
    assert verdict.reasons == [
        "warm start had 0 AOTAutograd cache misses (expected 0) and 0 code generations in the trace (expected 0); it "
        "compiled kernels (expected none): CuTe DSL LLFp32WGemm (64 keys, 32.0 s; kept only in memory: cute.compile "
        "has no cache on disk)"
    ]
    [broken] = [check for check in verdict.checks if not check.holds]
    assert (broken.kernels, broken.only_kernels) == ({"CuTe DSL LLFp32WGemm": 64}, True)


def test_the_message_lists_the_slowest_kernels() -> None:
    events = [cached_kernel(number, kernel=f"k{number}", seconds=float(number)) for number in range(1, 6)]
    [reason] = verdict_of(cold(*events), warm(*events)).reasons
    assert [f"k{number}" in reason for number in range(1, 6)] == [False, False, True, True, True]
    assert reason.endswith("; and 2 more kernels")


def test_a_failure_of_both_torch_compile_and_kernels_names_both() -> None:
    broken = checks_of(cold(cached_kernel()), warm(cached_kernel(), counters={MISSES: 1}))[InvariantId.NO_COMPILER]
    assert not broken.holds
    assert broken.words.startswith("warm start had 1 AOTAutograd cache miss")
    assert (list(broken.kernels), broken.only_kernels) == (["Triton _rope_kernel"], False)


def test_events_that_were_not_recorded_are_no_pass() -> None:
    verdict = verdict_of(cold(cached_kernel(), dropped=1), warm(LOADED_KERNEL, dropped=5))
    assert verdict.status is Status.PASSED
    unchecked = [check.id for check in verdict.checks if not check.is_checked]
    assert unchecked == [InvariantId.ONLY_UNIQUE, InvariantId.NO_COMPILER, InvariantId.READY_NO_COMPILER]
    assert any("not checked: 5 events beyond the first 2000 were not recorded" in note for note in verdict.notes)


def test_compiled_kernels_are_a_failure_although_other_events_were_dropped() -> None:
    verdict = verdict_of(cold(cached_kernel()), warm(cached_kernel(), dropped=5))
    assert [check.id for check in verdict.checks if not check.holds] == [InvariantId.NO_COMPILER]
    assert all(check.is_checked for check in verdict.checks if not check.holds)


# Invariant 2


def test_a_key_that_is_compiled_twice_in_one_process_is_a_failure() -> None:
    twice = [cached_kernel(key="0123456789abcdefghi"), cached_kernel(1, key="0123456789abcdefghi")]
    verdict = verdict_of(cold(*twice), warm(LOADED_KERNEL))
    [broken] = [check for check in verdict.checks if not check.holds]
    assert (broken.id, broken.kernels, broken.only_kernels) == (
        InvariantId.ONLY_UNIQUE,
        {"Triton _rope_kernel": 1},
        True,
    )
    assert broken.words.endswith(
        "more than once with the same key: Triton _rope_kernel (1 key; 0123456789abcdef… 2 times)"
    )


def test_different_keys_of_a_kernel_and_equal_keys_of_two_compilers_are_allowed() -> None:
    events = [cached_kernel(0), cached_kernel(1), cached_kernel(0, compiler=Compiler.TRITON_AUTOTUNE)]
    assert verdict_of(cold(*events), warm(LOADED_KERNEL)).status is Status.PASSED


# Invariant 7


@pytest.mark.parametrize("outcome", list(KernelOutcome))
def test_only_what_is_compiled_after_ready_is_a_failure(outcome: KernelOutcome) -> None:
    late = cached_kernel(1, phase="generate", outcome=outcome)
    verdict = verdict_of(cold(cached_kernel(), late), warm(LOADED_KERNEL))
    broken = [check for check in verdict.checks if not check.holds]
    assert [check.id for check in broken] == (
        [InvariantId.READY_NO_COMPILER] if outcome is KernelOutcome.COMPILED else []
    )


def test_in_the_warm_start_it_breaks_both_invariants() -> None:
    late = [cached_kernel(1, phase="generate"), cached_kernel(2, phase="generate")]
    broken = [each for each in checks_of(cold(late[0]), warm(*late)).values() if not each.holds]
    assert [check.id for check in broken] == [InvariantId.NO_COMPILER, InvariantId.READY_NO_COMPILER]
    assert broken[1].kernels == {"Triton _rope_kernel": 2}
    assert broken[1].words == (
        "after the engine was ready, kernels were compiled (expected none): Triton _rope_kernel (1 key, 0.5 s, cold "
        "start); Triton _rope_kernel (2 keys, 1.0 s, warm start)"
    )


def test_a_kernel_whose_phase_is_unknown_is_no_pass() -> None:
    check = checks_of(cold(cached_kernel(phase=None)), warm(LOADED_KERNEL))[InvariantId.READY_NO_COMPILER]
    assert (check.holds, check.is_checked) == (True, False)
    assert check.words.endswith("not checked: the phase of 1 kernel of the cold start is unknown")


def test_a_start_without_recorded_kernels_is_no_pass() -> None:
    check = checks_of(cold(cached_kernel()), warm_record())[InvariantId.READY_NO_COMPILER]
    assert (check.holds, check.is_checked) == (True, False)
    assert check.words.endswith("not checked: the kernels of the warm start were not recorded")


# Models that are not compiled by torch.compile


def uncompiled(*events: KernelEvent, **fields: Any) -> StartRecord:
    work = compiler_work(files=0, records=0)
    return cold(*events, counters=NOTHING, torch_compile=NOT_DECORATED, **{"compiler_work": work, **fields})


def uncompiled_warm(*events: KernelEvent, **fields: Any) -> StartRecord:
    counters, work = {**NOTHING, **fields.pop("counters", {})}, compiler_work(files=0, records=0)
    return warm(*events, counters=counters, torch_compile=NOT_DECORATED, **{"compiler_work": work, **fields})


def test_a_model_that_is_not_compiled_by_torch_compile_is_judged_by_its_kernels() -> None:
    verdict = judge(model_entry(), uncompiled(cached_kernel()), uncompiled_warm(LOADED_KERNEL))
    assert verdict.status is Status.PASSED
    unchecked = [check.id for check in verdict.checks if not check.is_checked]
    assert unchecked == [InvariantId.SAVES_NOTHING, InvariantId.LOADS_ALL]
    assert f"the engine does not use torch.compile for this model: {NOT_DECORATED}" in verdict.notes
    assert verdict.checks[0].words.endswith("other compilers compiled 1 kernel in the cold start (expected at least 1)")


def test_if_no_compiler_compiles_anything_the_cold_start_fails() -> None:
    verdict = judge(model_entry(), uncompiled(LOADED_KERNEL), uncompiled_warm(LOADED_KERNEL))
    assert [check.id for check in verdict.checks if not check.holds] == [InvariantId.COMPILES]
    assert NOT_DECORATED in verdict.reasons[0]


def test_without_recorded_kernels_it_fails_and_the_reason_is_reported() -> None:
    fields: dict[str, Any] = {"counters": NOTHING, "torch_compile": NOT_DECORATED}
    verdict = judge(model_entry(), cold_record(**fields), warm_record(**fields))
    assert verdict.status is Status.FAILED
    assert verdict.reasons[0].endswith(f"; the engine does not use torch.compile for this model ({NOT_DECORATED})")


def test_filled_caches_fail_a_cold_start_without_torch_compile() -> None:
    verdict = judge(model_entry(), uncompiled(cached_kernel(), caches_as_left=False), uncompiled_warm(LOADED_KERNEL))
    assert [check.id for check in verdict.checks if not check.holds] == [InvariantId.COMPILES]


def test_the_other_invariants_still_apply() -> None:
    cold_start, other = uncompiled(cached_kernel()), uncompiled_warm(cached_kernel())
    assert [c.id for c in checks_of(cold_start, other).values() if not c.holds] == [InvariantId.NO_COMPILER]
    nested = uncompiled_warm(LOADED_KERNEL, counters={MISSES: 1})
    assert [c.id for c in checks_of(cold_start, nested).values() if not c.holds] == [InvariantId.NO_COMPILER]
    garbled = uncompiled_warm(LOADED_KERNEL, compiler_work=compiler_work(records=0, garbled_lines=2))
    assert [c.id for c in checks_of(cold_start, garbled).values() if not c.holds] == [InvariantId.NO_COMPILER]
    other_caches = uncompiled_warm(LOADED_KERNEL, caches_as_left=False)
    assert [c.id for c in checks_of(cold_start, other_caches).values() if not c.holds] == [InvariantId.LOADS_ALL]


@pytest.mark.parametrize("counters", [{SAVED: 1}, {LOADED: 1}])
def test_a_warm_start_that_uses_torch_compile_although_the_cold_one_did_not_fails(counters: dict[str, int]) -> None:
    checks = checks_of(uncompiled(cached_kernel()), uncompiled_warm(counters=counters))
    assert {check.id for check in checks.values() if not check.holds} >= {
        InvariantId.SAVES_NOTHING,
        InvariantId.LOADS_ALL,
    }


def test_counters_that_show_torch_compile_outweigh_the_reason() -> None:
    cold_start = cold(torch_compile=NOT_DECORATED)
    assert verdict_of(cold_start, warm(torch_compile=NOT_DECORATED)).status is Status.PASSED
    check = checks_of(cold_start, warm(counters={LOADED: 2}))[InvariantId.LOADS_ALL]
    assert not check.holds


def test_a_cold_start_that_uses_torch_compile_and_saves_nothing_fails_in_spite_of_kernels() -> None:
    records = cold(cached_kernel(), counters={SAVED: 0}), warm(LOADED_KERNEL, counters={LOADED: 0})
    broken = [check.id for check in checks_of(*records).values() if not check.holds]
    assert broken == [InvariantId.COMPILES, InvariantId.LOADS_ALL]


# Depths


LISTED = cached_kernel(outcome=KernelOutcome.LISTED)


def test_at_depth_count_kernels_are_not_checked() -> None:
    checks = checks_of(cold(LISTED, depth=Depth.COUNT), warm(LISTED, depth=Depth.COUNT))
    assert InvariantId.READY_NO_COMPILER not in checks
    no_compiler = checks[InvariantId.NO_COMPILER]
    assert no_compiler.holds
    assert no_compiler.words.endswith("; kernels of other compilers were not checked at depth count")
    assert "kernel" not in checks[InvariantId.ONLY_UNIQUE].words


def test_at_depth_count_a_compiled_kernel_is_a_failure() -> None:
    checks = checks_of(cold(cached_kernel(), depth=Depth.COUNT), warm(cached_kernel(), depth=Depth.COUNT))
    assert not checks[InvariantId.NO_COMPILER].holds


@pytest.mark.parametrize("depth", [Depth.TRACE, Depth.COUNT])
def test_without_torch_compile_a_depth_without_kernels_never_passes(depth: Depth) -> None:
    cold_start = uncompiled(LISTED, depth=depth)
    verdict = judge(model_entry(), cold_start, uncompiled_warm(LISTED, depth=depth) if depth is Depth.COUNT else None)
    assert verdict.status is Status.UNSUPPORTED
    [reason] = verdict.reasons
    assert reason.endswith(f"({NOT_DECORATED}), and --depth {depth} compiles no kernels; use --depth full")
    assert not any(check.is_checked for check in verdict.checks[:2])
    assert "1 key listed, nothing compiled" in verdict.checks[0].words


# Ranks


def rank(number: int, facts: ProcessReport, *events: KernelEvent) -> ProcessReport:
    return facts.model_copy(update={"rank": number, "kernels": kernel_events(*events)})


def test_each_rank_is_checked_by_itself_and_the_engine_core_with_the_first() -> None:
    [of_cold], [of_warm] = cold_facts().processes, warm_facts().processes
    core = ProcessReport(pid=1, role="engine core", kernels=kernel_events(cached_kernel(kernel="_of_core")))
    work = {"traced_ranks": [0, 1]}
    cold_start = cold_record(
        processes=[core, rank(0, of_cold, cached_kernel()), rank(1, of_cold, cached_kernel())],
        compiler_work=compiler_work(code_generations=4, subgraphs_unique=3, **work),
    )
    warm_start = warm_record(
        processes=[core, rank(0, of_warm), rank(1, of_warm, cached_kernel(), cached_kernel(1))],
        compiler_work=compiler_work(**work),
    )
    [broken] = [check for check in checks_of(cold_start, warm_start).values() if not check.holds]
    assert broken.id == InvariantId.NO_COMPILER
    assert broken.kernels == {"Triton _of_core": 1, "Triton _rope_kernel": 2}
    assert broken.only_kernels
    assert broken.words.startswith("rank 0: ")
    assert "; rank 1: " in broken.words


# Compilers that could not be observed


def test_hooks_that_a_version_does_not_have_are_noted_once() -> None:
    status = CompilerStatus(compiler=Compiler.TRITON_AUTOTUNE, version="3.6.0", missing=["knobs.autotuning.listener"])
    seen = kernel_events(compilers=[status, CompilerStatus(compiler=Compiler.TRITON, version="3.6.0")])
    verdict = verdict_of(cold_record(kernels=seen), warm_record(kernels=seen))
    assert verdict.notes == ["Triton autotune 3.6.0: not all kernels are seen (knobs.autotuning.listener)"]


# Known issues of one model


def test_an_issue_of_the_model_does_not_accept_kernels() -> None:
    issue = known_issue(breaks="warm-no-compiler", cold={}, warm={MISSES: 1})
    misses = warm(LOADED_KERNEL, counters={MISSES: 1})
    assert judge(model_entry(known_issue=[issue]), cold(cached_kernel()), misses).status is Status.KNOWN_ISSUE
    both = warm(cached_kernel(), counters={MISSES: 1})
    verdict = judge(model_entry(known_issue=[issue]), cold(cached_kernel()), both)
    assert verdict.status is Status.FAILED
    assert verdict.reasons[1] == "one-too-many: accounts for this failure, except for its kernels"


def test_an_issue_of_the_model_is_fixed_if_only_kernels_fail() -> None:
    issue = known_issue(breaks="warm-no-compiler", cold={}, warm={MISSES: 1})
    verdict = judge(model_entry(known_issue=[issue]), cold(cached_kernel()), warm(cached_kernel()))
    assert (verdict.status, [seen.shows for seen in verdict.issues]) == (Status.FAILED, [False])


# Kernels that only files show


def test_a_kernel_that_only_files_show_is_a_failure_of_the_first_rank() -> None:
    by_files = [cached_kernel(compiler=Compiler.DEEP_GEMM)]
    records = cold(cached_kernel(), kernels_by_files=by_files), warm(LOADED_KERNEL, kernels_by_files=by_files)
    [broken] = [check for check in checks_of(*records).values() if not check.holds]
    assert broken.kernels == {"DeepGEMM _rope_kernel": 1}


def test_kernels_that_only_files_show_are_checked_for_the_time_after_ready() -> None:
    late = cached_kernel(compiler=Compiler.PTX_JIT, phase="generate")
    check = checks_of(cold_record(kernels_by_files=[late]), warm_record())[InvariantId.READY_NO_COMPILER]
    assert check.kernels == {"PTX JIT _rope_kernel": 1}
