from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.kernels import KernelEvent, KernelOutcome
from coldwarm.core.record import ProcessReport
from coldwarm.core.stats import KernelWork
from coldwarm.measure.kernel_work import kernel_work
from coldwarm.measure.recompiled_kernels import Cause, Recompiled, recompiled_kernels
from tests.support.records import cached_kernel, kernel_event, kernel_events


def work_of(*events: KernelEvent) -> KernelWork:
    work = kernel_work([ProcessReport(kernels=kernel_events(*events))], [])
    assert work is not None
    return work


def why(cold: KernelEvent | None, warm: KernelEvent) -> Recompiled:
    [found] = recompiled_kernels(work_of(cold) if cold else work_of(), work_of(warm))
    return found


def test_what_is_loaded_or_listed_was_not_compiled() -> None:
    events = [kernel_event(outcome=KernelOutcome.LOADED), kernel_event(1, outcome=KernelOutcome.LISTED)]
    assert recompiled_kernels(work_of(kernel_event()), work_of(*events)) == []


def test_a_kernel_without_a_folder_was_kept_only_in_memory() -> None:
    found = why(kernel_event(), kernel_event())
    assert (found.cause, found.reason) == (Cause.IN_MEMORY, "kept only in memory: cute.compile has no cache on disk")


def test_a_kernel_whose_folder_is_unknown_may_have_another_key() -> None:
    unknown: dict[str, Any] = {"cache_folder": None}
    found = why(cached_kernel(**unknown), cached_kernel(**unknown))
    assert (found.cause, found.reason) == (Cause.NOT_STORED, "no cache on disk is known for it")
    assert why(cached_kernel(0, **unknown), cached_kernel(1, **unknown)).cause is Cause.OTHER_KEY


def test_without_a_folder_another_key_is_no_reason() -> None:
    assert why(kernel_event(0), kernel_event(1)).cause is Cause.IN_MEMORY


def test_a_kernel_that_only_the_cold_start_kept_in_memory() -> None:
    found = why(cached_kernel(cache_folder=None, why_not_cached="TRITON_X=1"), cached_kernel())
    assert (found.cause, found.reason) == (Cause.IN_MEMORY, "kept only in memory: TRITON_X=1 (cold start)")
    found = why(cached_kernel(cache_folder=None), cached_kernel())
    assert found.reason == "in the cold start, no cache on disk is known for it"


def test_the_same_key_that_is_not_in_its_folder() -> None:
    found = why(cached_kernel(), cached_kernel())
    assert found.cause is Cause.NOT_STORED
    assert found.reason.endswith("under the same key: the cold start did not store it, or the folder did not persist")
    assert found.example == "cache folder: /cache/triton"


def test_a_setting_that_disables_the_cache() -> None:
    found = why(cached_kernel(), cached_kernel(why_not_cached="TRITON_ALWAYS_COMPILE=1"))
    assert (found.cause, found.reason) == (Cause.NOT_STORED, "its cache was not used: TRITON_ALWAYS_COMPILE=1")


def test_another_folder() -> None:
    found = why(cached_kernel(), cached_kernel(cache_folder="/tmp/x"))
    assert found.reason == "its cache folder is another one"
    assert found.example == "cache folder: /cache/triton cold, /tmp/x warm"


def test_what_the_compiler_gives_as_its_reason_comes_before_another_key() -> None:
    found = why(cached_kernel(0), cached_kernel(1, why_not_cached="output a.o older than most recent input a.cpp"))
    assert found.reason == "its cache was not used: output a.o older than most recent input a.cpp"


def test_keys_with_folders_of_their_own_have_one_reason() -> None:
    events = [cached_kernel(number, cache_folder=f"/cache/triton/{number}") for number in range(3)]
    [found] = recompiled_kernels(work_of(*events), work_of(*events))
    assert (found.keys, found.example) == (3, "cache folder: /cache/triton/0")


def test_the_reason_is_not_said_twice() -> None:
    event = kernel_event(why_not_cached="kept in memory only, because a configuration has a pre_hook")
    assert why(event, event).reason == "kept only in memory: a configuration has a pre_hook"


def test_another_key_names_the_first_component_that_differs() -> None:
    other = {"signature": "*fp32, i32", "constants": "BLOCK=128", "options": "num_warps=8"}
    found = why(cached_kernel(0), cached_kernel(1, components=other))
    assert (found.cause, found.reason) == (Cause.OTHER_KEY, "another key: `constants` differs")
    assert found.example == "`constants`: BLOCK=64 cold, BLOCK=128 warm"


def test_another_key_without_different_components() -> None:
    assert why(cached_kernel(0), cached_kernel(1)).reason == "another key, and no recorded component of it differs"


def test_a_component_that_only_one_start_has_differs() -> None:
    found = why(cached_kernel(0), cached_kernel(1, components={**cached_kernel().components, "flags": "-O3"}))
    assert found.example == "`flags`: nothing cold, -O3 warm"


@pytest.mark.parametrize("owner", ["Rope(128)", None])
def test_it_is_compared_with_the_key_that_differs_least_of_the_same_owner(owner: str | None) -> None:
    near = cached_kernel(0, owner="Rope(128)", components={"a": "1", "b": "2"})
    far = cached_kernel(1, owner=None, components={"a": "0", "b": "0"})
    warm = cached_kernel(2, owner=owner, components={"a": "1", "b": "3"})
    [found] = recompiled_kernels(work_of(far, near), work_of(warm))
    assert found.example == ("`b`: 2 cold, 3 warm" if owner else "`a`: 0 cold, 1 warm")


def test_a_kernel_that_the_cold_start_did_not_compile() -> None:
    assert why(None, kernel_event()).cause is Cause.NOT_IN_COLD
    assert why(cached_kernel(kernel="_other"), cached_kernel()).cause is Cause.NOT_IN_COLD


def test_without_a_record_of_the_cold_start_no_key_is_compared() -> None:
    [found] = recompiled_kernels(None, work_of(cached_kernel()))
    assert found.reason == "the kernels of the cold start were not recorded"


def test_keys_of_one_kernel_are_grouped_by_their_reason() -> None:
    cold = work_of(cached_kernel(0), kernel_event(0))
    other = cached_kernel(5, components={**cached_kernel().components, "options": "num_warps=8"})
    found = recompiled_kernels(cold, work_of(cached_kernel(0), other, *(kernel_event(n) for n in range(3))))
    assert [(each.label, each.cause, each.keys) for each in found] == [
        ("CuTe DSL LLFp32WGemm", Cause.IN_MEMORY, 3),
        ("Triton _rope_kernel", Cause.NOT_STORED, 1),
        ("Triton _rope_kernel", Cause.OTHER_KEY, 1),
    ]
