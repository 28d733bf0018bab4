from __future__ import annotations

from coldwarm.core.kernels import KernelOutcome
from coldwarm.core.phases import Phase
from coldwarm.diagnose.compilers import compiler_rows, slowest_kernels
from tests.support.records import (
    cached_kernel,
    cold_record,
    kernel_event,
    kernel_events,
    unfinished_record,
    warm_record,
)

COLD = cold_record(
    kernels=kernel_events(kernel_event(0), kernel_event(1), cached_kernel(0)),
    phases=[Phase(name="Dynamo", seconds=3.0), Phase(name="cache load", seconds=1.0)],
)
WARM = warm_record(kernels=kernel_events(kernel_event(0), cached_kernel(0, outcome=KernelOutcome.LOADED)))


def test_each_compiler_has_a_row_and_torch_compile_is_first() -> None:
    rows = compiler_rows(COLD, WARM)
    assert [row.compiler for row in rows] == ["torch.compile", "Triton", "CuTe DSL"]
    assert [(each.compiled, each.loaded, each.seconds) for row in rows for each in (row.cold, row.warm) if each] == [
        (3, 0, 3.0),
        (0, 3, None),
        (1, 0, 0.5),
        (0, 1, None),
        (2, 0, 1.0),
        (1, 0, 0.5),
    ]


def test_a_compiler_that_only_one_start_used_did_nothing_in_the_other() -> None:
    [_, row] = compiler_rows(
        COLD.model_copy(update={"processes": WARM.processes}), warm_record(kernels=kernel_events())
    )[:2]
    assert row.warm is not None
    assert (row.warm.compiled, row.warm.loaded, row.warm.seconds) == (0, 0, None)


def test_without_recorded_kernels_there_are_no_rows() -> None:
    assert compiler_rows(cold_record(), warm_record()) == []
    assert compiler_rows(None, unfinished_record()) == []
    rows = compiler_rows(COLD, None)
    assert [row.warm for row in rows] == [None] * 3


def test_the_slowest_kernels_come_first_whichever_start_compiled_them() -> None:
    events = [cached_kernel(number, kernel=f"k{number}", seconds=float(number)) for number in range(12)]
    cold, warm = cold_record(kernels=kernel_events(*events[:6])), warm_record(kernels=kernel_events(*events[5:]))
    rows = slowest_kernels(cold, warm)
    assert [row.kernel for row in rows] == [f"k{number}" for number in reversed(range(2, 12))]
    assert (rows[0].cold, rows[0].warm is not None) == (None, True)
    [both] = [row for row in rows if row.cold and row.warm]
    assert both.kernel == "k5"
