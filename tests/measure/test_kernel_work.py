from __future__ import annotations

import pytest

from coldwarm.core.kernels import Compiler, KernelEvent, KernelOutcome
from coldwarm.core.phases import Step
from coldwarm.core.record import ProcessReport
from coldwarm.core.stats import KernelWork
from coldwarm.measure.kernel_work import kernel_work
from tests.support.records import KERNELS_BEGAN, cached_kernel, kernel_event, kernel_events


def work_of(*events: KernelEvent, steps: list[Step] | None = None, dropped: int = 0) -> KernelWork:
    work = kernel_work([ProcessReport(kernels=kernel_events(*events, dropped=dropped))], steps or [])
    assert work is not None
    return work


def test_without_recorded_kernels_nothing_is_known() -> None:
    assert kernel_work([ProcessReport(), ProcessReport()], []) is None


def test_recorded_kernels_may_be_none_at_all() -> None:
    work = work_of()
    assert (work.compilers, work.kernels, work.compiled, work.listed) == ((), (), 0, 0)


def test_each_compiler_has_its_counts_in_the_order_of_compilers() -> None:
    work = work_of(
        kernel_event(0),
        kernel_event(1),
        kernel_event(2, outcome=KernelOutcome.LISTED),
        cached_kernel(3),
        cached_kernel(4, outcome=KernelOutcome.LOADED, seconds=0.25),
    )
    triton, cute = work.compilers
    assert (triton.compiler, triton.compiled, triton.loaded, triton.keys) == (Compiler.TRITON, 1, 1, 1)
    assert (triton.seconds, triton.seconds_loading) == (0.5, 0.25)
    assert (cute.compiler, cute.compiled, cute.listed, cute.keys, cute.seconds) == (Compiler.CUTE_DSL, 2, 1, 2, 1.0)
    assert (work.compiled, work.listed) == (3, 1)


def test_time_in_several_threads_counts_once() -> None:
    same_time = [kernel_event(number, begin=KERNELS_BEGAN + number / 4, seconds=1.0) for number in range(4)]
    [counts] = work_of(*same_time).compilers
    assert counts.seconds == 1.75


def test_seconds_without_a_begin_are_unknown() -> None:
    [counts] = work_of(kernel_event(begin=None)).compilers
    assert counts.seconds is None
    [kernel] = work_of(kernel_event(seconds=None)).kernels
    assert (kernel.times, kernel.seconds) == (1, None)


def test_kernels_are_listed_with_the_slowest_first() -> None:
    kernels = work_of(cached_kernel(0), kernel_event(1), kernel_event(2)).kernels
    assert [(each.label, each.keys, each.seconds) for each in kernels] == [
        ("CuTe DSL LLFp32WGemm", 2, 1.0),
        ("Triton _rope_kernel", 1, 0.5),
    ]


def test_a_key_is_repeated_only_within_one_process() -> None:
    twice = [kernel_event(key="k"), kernel_event(1, key="k"), kernel_event(2)]
    [repeated] = work_of(*twice).repeated
    assert (repeated.kernel, repeated.key, repeated.times) == ("LLFp32WGemm", "k", 2)
    processes = [ProcessReport(kernels=kernel_events(kernel_event(key="k"))) for _ in range(2)]
    work = kernel_work(processes, [])
    assert work is not None
    assert (work.repeated, work.compiled) == ((), 2)


@pytest.mark.parametrize("outcome", [KernelOutcome.LOADED, KernelOutcome.LISTED])
def test_a_key_that_is_loaded_or_listed_after_it_was_compiled_is_not_repeated(outcome: KernelOutcome) -> None:
    assert work_of(kernel_event(key="k"), kernel_event(key="k", outcome=outcome)).repeated == ()


def test_what_is_compiled_in_the_step_generate_is_compiled_after_ready() -> None:
    work = work_of(
        kernel_event(0), kernel_event(1, phase="generate"), cached_kernel(phase="generate", outcome="loaded")
    )
    [late] = work.after_ready
    assert (late.kernel, late.keys) == ("LLFp32WGemm", 1)


def test_the_phase_of_an_event_with_only_a_time_is_the_step_at_that_time() -> None:
    steps = [
        Step(name="weights", begin=KERNELS_BEGAN - 9, end=KERNELS_BEGAN),
        Step(name="generate", begin=KERNELS_BEGAN, end=KERNELS_BEGAN + 9),
    ]
    events = [kernel_event(phase=None), kernel_event(1, phase=None, begin=KERNELS_BEGAN - 1)]
    work = work_of(*events, steps=steps)
    assert [event.phase for event in work.events] == ["generate", "weights"]
    assert ([each.keys for each in work.after_ready], work.without_phase) == ([1], 0)


def test_an_event_without_phase_and_time_is_counted_as_such() -> None:
    work = work_of(kernel_event(phase=None, begin=None), kernel_event(phase=None), dropped=3)
    assert (work.after_ready, work.without_phase, work.dropped) == ((), 2, 3)


def test_kernels_that_only_files_show_are_counted_and_their_phase_is_the_step_at_their_time() -> None:
    by_files = [kernel_event(0, compiler=Compiler.DEEP_GEMM, phase=None)]
    steps = [Step(name="generate", begin=KERNELS_BEGAN, end=KERNELS_BEGAN + 9)]
    for processes in ([], [ProcessReport(kernels=kernel_events(kernel_event(0)))]):
        work = kernel_work(processes, steps, by_files)
        assert work is not None
        assert Compiler.DEEP_GEMM in [each.compiler for each in work.compilers]
        assert [each.label for each in work.after_ready] == ["DeepGEMM LLFp32WGemm"]
