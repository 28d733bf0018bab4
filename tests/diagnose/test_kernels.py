"""Findings on kernels that were compiled in the warm start, or after the engine was ready."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.core.depth import Depth
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.kernels import Compiler, KernelEvent, KernelOutcome
from coldwarm.core.record import LayerKind, StartKind, StartRecord
from coldwarm.diagnose.explanation import explain
from coldwarm.diagnose.kernels import kernel_findings
from coldwarm.measure.intervals import Interval
from coldwarm.report.findings import finding_lines
from tests.support.explanations import BEGAN, compiled_again, keys, span, write_keys, write_trace
from tests.support.records import cached_kernel, cold_record, kernel_event, kernel_events, warm_record


def cold(*events: KernelEvent, **fields: Any) -> StartRecord:
    return cold_record(kernels=kernel_events(*events), **fields)


def warm(*events: KernelEvent, **fields: Any) -> StartRecord:
    return warm_record(kernels=kernel_events(*events), **fields)


def findings_of(cold: StartRecord, warm: StartRecord | None, charged: list[Interval] | None = None) -> list[Finding]:
    return kernel_findings(cold, warm, {kind: charged or [] for kind in StartKind})


def the_only(*events: KernelEvent, cold_events: list[KernelEvent] | None = None) -> Finding:
    [finding] = findings_of(cold(*(events if cold_events is None else cold_events)), warm(*events))
    return finding


def test_healthy_starts_and_starts_without_recorded_kernels_have_no_findings() -> None:
    assert findings_of(cold(cached_kernel()), warm(cached_kernel(outcome=KernelOutcome.LOADED))) == []
    assert findings_of(cold(cached_kernel()), None) == []
    assert findings_of(cold_record(), warm_record()) == []
    unfinished = warm(cached_kernel(), facts=None)
    assert findings_of(cold(cached_kernel()), unfinished) == []


def test_a_recompiled_kernel_is_reported_with_keys_seconds_reason_line_and_advice() -> None:
    finding = the_only(*(kernel_event(number, owner=f"Gemm(M={number})") for number in range(64)))
    assert finding_lines(finding) == [
        "kernel recompiled, warm: CuTe DSL compiled `LLFp32WGemm` with 64 keys in the warm start: kept only in memory: "
        "cute.compile has no cache on disk (32.0 s per warm start)",
        "location: vllm/model_executor/layers/fused_moe/gate_linear.py:214",
        *(
            f"evidence: warm.json: kernels.events: LLFp32WGemm compiled in 0.50 s, key key {n}, for Gemm(M={n})"
            for n in range(3)
        ),
        "possible fix: none by a setting, because cute.compile never uses a cache on disk: "
        "https://github.com/NVIDIA/cutlass/issues/3398",
    ]
    assert (finding.kernel, finding.keys) == ("CuTe DSL LLFp32WGemm", 64)


@pytest.mark.parametrize(
    ("event", "advice"),
    [
        (kernel_event(where="flash_attn/cute/interface.py:3"), "FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED=1"),
        (kernel_event(where="quack/rmsnorm.py:3"), "QUACK_CACHE_ENABLED=1"),
        (kernel_event(where="flashinfer/gdn_kernels/delta_rule_dsl/a.py:3"), 'gdn_prefill_backend="triton"'),
        (cached_kernel(compiler=Compiler.TRITON_AUTOTUNE, cache_folder=None), "TRITON_CACHE_AUTOTUNING=1"),
        (cached_kernel(), "make /cache/triton a folder that persists and is writable"),
    ],
)
def test_the_possible_fix_is_a_setting_if_there_is_one(event: KernelEvent, advice: str) -> None:
    assert advice in (the_only(event).next or "")


def test_a_kernel_that_is_cached_needs_no_other_backend() -> None:
    event = cached_kernel(compiler=Compiler.CUTE_DSL, where="flashinfer/gdn_kernels/a.py:3")
    assert the_only(event).next == "make /cache/triton a folder that persists and is writable"


def test_an_autotuner_that_cannot_store_its_results_has_no_fix_by_a_setting() -> None:
    event = kernel_event(compiler=Compiler.TRITON_AUTOTUNE, why_not_cached="a config has a pre_hook")
    assert the_only(event).next is None


def test_another_key_shows_both_values() -> None:
    event = cached_kernel(1, components={**cached_kernel().components, "constants": "BLOCK=128"})
    finding = the_only(event, cold_events=[cached_kernel(0)])
    assert finding.what.endswith("with 1 key in the warm start: another key: `constants` differs")
    assert finding.details == ["`constants`: BLOCK=64 cold, BLOCK=128 warm"]


def test_a_kernel_has_one_finding_for_each_reason_the_most_expensive_first() -> None:
    other = cached_kernel(5, components={"signature": "i32"})
    found = findings_of(
        cold(cached_kernel(0), kernel_event(0)), warm(cached_kernel(0), other, kernel_event(9, seconds=3))
    )
    assert [(each.kernel, each.keys, each.seconds) for each in found] == [
        ("CuTe DSL LLFp32WGemm", 1, 3.0),
        ("Triton _rope_kernel", 1, 0.5),
        ("Triton _rope_kernel", 1, 0.5),
    ]


# Costs


def test_kernels_that_are_compiled_at_the_same_time_share_it() -> None:
    events = [
        cached_kernel(0, kernel="long", begin=100.0, seconds=4.0),
        cached_kernel(1, kernel="short", begin=101.0, seconds=1.0),
    ]
    found = findings_of(cold(*events), warm(*events))
    assert {each.kernel: each.seconds for each in found} == {"Triton long": 3.0, "Triton short": 1.0}


def test_time_in_which_torch_compile_worked_is_charged_to_its_finding() -> None:
    event = cached_kernel(begin=100.0, seconds=4.0)
    [found] = findings_of(cold(event), warm(event), [(99.0, 101.0), (103.0, 110.0)])
    assert found.seconds == 2.0


def test_a_cost_that_is_not_known_is_not_shown() -> None:
    assert the_only(kernel_event(seconds=None)).seconds is None


def run_folder(folder: Path) -> Path:
    for kind in StartKind:
        edges = (("B", 0.0), ("E", 2.0))
        write_trace(folder / f"{kind}.trace", *(span("compile_fx_inner", edge, at) for edge, at in edges))
    write_keys(folder, keys(), keys(environment={"VLLM_USE_V1": "0"}))
    return folder


def test_an_explanation_charges_only_what_no_other_finding_is_charged_for(tmp_path: Path) -> None:
    event = cached_kernel(begin=BEGAN + 1.0, seconds=4.0)
    kernels = kernel_events(event)
    for warm_start, seconds in ((compiled_again(kernels=kernels), 3.0), (warm_record(kernels=kernels), 4.0)):
        explained = explain(run_folder(tmp_path), cold(event), warm_start)
        [found] = [each for each in explained.findings if each.kind is FindingKind.KERNEL_RECOMPILED]
        assert found.seconds == seconds


def test_at_depth_count_the_cost_is_unknown(tmp_path: Path) -> None:
    event = cached_kernel()
    records = cold(event, depth=Depth.COUNT), warm(event, depth=Depth.COUNT)
    [found] = explain(run_folder(tmp_path), *records).findings
    assert (found.kind, found.seconds) == (FindingKind.KERNEL_RECOMPILED, None)


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(
        st.builds(
            cached_kernel,
            st.integers(0, 3),
            kernel=st.sampled_from("abc"),
            begin=st.floats(0.0, 20.0),
            seconds=st.floats(0.0, 5.0),
            phase=st.sampled_from(["weights", "generate"]),
        )
    ),
    charged=st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 20.0))),
)
def test_no_second_is_charged_twice(events: list[KernelEvent], charged: list[Interval]) -> None:
    found = findings_of(cold(*events), warm(*events), charged)
    for kind in StartKind:
        costs = [each.seconds for each in found if each.start is kind and each.seconds is not None]
        assert all(cost >= 0.0 for cost in costs)
        assert sum(costs) <= 25.0 + 1e-6


# After ready


def test_a_kernel_that_is_compiled_after_ready_is_reported_once_for_both_starts() -> None:
    late = [cached_kernel(number, phase="generate") for number in range(2)]
    found = findings_of(cold(cached_kernel(9), late[0]), warm(*late))
    [finding] = [each for each in found if each.kind is FindingKind.COMPILED_AFTER_READY]
    assert finding.what == (
        "Triton compiled `_rope_kernel` with 2 keys after the engine was ready, in the cold and the warm start: "
        "the first requests wait for it"
    )
    assert (finding.start, finding.keys, finding.seconds) == (StartKind.COLD, 2, 0.5)
    assert not finding.shares_cost


def test_its_cost_in_the_warm_start_is_that_of_the_recompilation() -> None:
    late = cached_kernel(phase="generate")
    recompiled, after_ready = findings_of(cold(cached_kernel()), warm(late))
    assert (recompiled.seconds, after_ready.seconds, after_ready.shares_cost) == (0.5, None, True)


def test_a_kernel_that_is_loaded_after_ready_is_not_reported() -> None:
    late = cached_kernel(phase="generate", outcome=KernelOutcome.LOADED)
    assert findings_of(cold(cached_kernel(), late), warm(late)) == []


# Keys by layer


def with_layers(count: int, *events: KernelEvent) -> list[Finding]:
    layers = [LayerKind(layer_class="Layer", layers=count, parameters=6)]
    return findings_of(cold(*events, layer_kinds=layers), None)


def by_layer(count: int) -> list[KernelEvent]:
    return [
        cached_kernel(number, components={"source": "s", "constants": f"LAYER={number}"}) for number in range(count)
    ]


def test_a_component_with_as_many_values_as_layers_is_reported() -> None:
    [finding] = with_layers(8, *by_layer(8))
    assert finding.kind is FindingKind.KEYS_BY_LAYER
    assert "with 8 keys, and `constants` has as many values as the model has layers (8)" in finding.what
    assert finding.seconds is None


@pytest.mark.parametrize(("layers", "count"), [(8, 7), (8, 9), (3, 3)])
def test_another_number_of_values_or_few_layers_are_not_reported(layers: int, count: int) -> None:
    assert with_layers(layers, *by_layer(count)) == []


def test_values_of_several_parts_of_a_component_are_not_layers() -> None:
    tiles = [
        cached_kernel(number, components={"constants": json.dumps({"BLOCK_M": 16 << number % 4, "BLOCK_N": number})})
        for number in range(8)
    ]
    assert with_layers(8, *tiles) == []
    layers = [cached_kernel(n, components={"constants": json.dumps({"LAYER": n, "BLOCK_N": 1})}) for n in range(8)]
    assert [finding.kind for finding in with_layers(8, *layers)] == [FindingKind.KEYS_BY_LAYER]


def test_keys_that_are_no_multiple_of_the_layers_are_not_reported() -> None:
    more = [cached_kernel(8 + n, components={"source": f"s{n}", "constants": "LAYER=0"}) for n in range(2)]
    assert with_layers(8, *by_layer(8), *more) == []


def test_keys_without_recorded_components_are_not_reported() -> None:
    assert with_layers(8, *(kernel_event(number) for number in range(8))) == []


def test_values_of_several_kernels_are_not_added_up() -> None:
    halves = [event.model_copy(update={"kernel": f"k{number % 2}"}) for number, event in enumerate(by_layer(8))]
    assert with_layers(8, *halves) == []


# The same key more than once


def test_a_key_that_is_compiled_twice_is_reported_with_what_differs() -> None:
    rows = [{"source": "s", "arguments": f"rows={rows}"} for rows in (1024, 8)]
    events = [kernel_event(0, components=components) for components in rows]
    [finding] = findings_of(cold(*events, kernel_event(1)), None)
    assert finding.what == (
        "CuTe DSL compiled `LLFp32WGemm` more than once with 1 key: arguments differ, but not what is compiled"
    )
    assert (finding.kind, finding.kernel, finding.keys) == (FindingKind.KERNEL_REPEATED, "CuTe DSL LLFp32WGemm", 1)
    assert finding.evidence[-1].record == "kernels.events: arguments: rows=1024 | rows=8"


def test_a_key_that_is_compiled_twice_for_no_reason_is_reported() -> None:
    [finding] = findings_of(cold(kernel_event(0), kernel_event(0)), None)
    assert finding.what.endswith("more than once with 1 key: nothing differs")
