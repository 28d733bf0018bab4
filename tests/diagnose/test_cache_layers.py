from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.stats import LayerCounts
from coldwarm.diagnose.cache_layers import TraceCounter, cache_layers
from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.trace.kinds import KernelsLoaded
from coldwarm.trace.reader import TraceFile, read_trace
from tests.support.explanations import Written, asked, location, piecewise_start, write_trace
from tests.support.records import LOADED, MISSES, SAVED, cold_record, unfinished_record, warm_record

NAMES = ["vLLM, whole function", "vLLM, artifacts", "AOTAutograd", "FX graph", "Triton kernels", "C++ kernels"]


BACKEND, INDUCTOR = "vllm.num_backend_compilations", "vllm.num_inductor_compiles"
AOT = {"vllm.num_aot_artifacts_loaded": 0, "vllm.num_aot_compiles": 1, "vllm.num_aot_artifacts_saved": 1}
OFF = {"VLLM_DISABLE_COMPILE_CACHE": "1"}


def counter(native: int = 0, triton: int = 0) -> TraceCounter:
    trace = TraceCounter()
    trace.begin(TraceFile(Path("rank_0.log"), 0))
    trace.take(KernelsLoaded(location(), native, triton))
    return trace


def traced(folder: Path, *records: Written) -> TraceCounter:
    write_trace(folder, *records)
    trace = TraceCounter()
    read_trace(folder, trace, vocabulary=TRACE)
    return trace


def counts(record: StartRecord, kernels: TraceCounter | None = None) -> dict[str, LayerCounts]:
    layers = cache_layers(record, None, kernels or counter(), counter())
    return {layer.name: layer.cold for layer in layers if layer.cold is not None}


def test_layers_are_listed_with_cold_and_warm_counts_the_engines_first() -> None:
    layers = cache_layers(cold_record(), warm_record(), counter(), counter())
    assert [layer.name for layer in layers] == NAMES
    [artifacts] = [layer for layer in layers if layer.name == "vLLM, artifacts"]
    assert artifacts.cold == LayerCounts(hits=0, misses=3, saved=3)
    assert artifacts.warm == LayerCounts(hits=3, misses=0, saved=0)


# vLLM's artifacts


def test_artifacts_that_were_not_found_are_misses_even_if_none_is_saved(tmp_path: Path) -> None:
    # Measured with VLLM_DISABLE_COMPILE_CACHE=1 (vLLM 0.32): nine subgraphs, three of them unique.
    subgraphs = [piecewise_start(n) for n in range(9)]
    for at, key in ((9, "c"), (3, "b"), (1, "a")):
        subgraphs.insert(at, asked("miss", key, frame_id=None))
    cold = cold_record(counters={SAVED: 0, BACKEND: 9, INDUCTOR: 9}, environment=OFF)
    assert counts(cold, traced(tmp_path, *subgraphs))["vLLM, artifacts"] == LayerCounts(
        hits=0, misses=3, saved=0, is_off=True
    )


def test_an_artifact_that_only_the_compilers_cache_had_is_a_miss_of_vllm(tmp_path: Path) -> None:
    trace = traced(
        tmp_path, *(each for n in (0, 1) for each in (piecewise_start(n), asked("hit", f"k{n}", frame_id=None)))
    )
    assert counts(warm_record(counters={SAVED: 0, LOADED: 0, INDUCTOR: 9}), trace)["vLLM, artifacts"].misses == 2


def test_each_key_and_each_bypass_is_one_artifact(tmp_path: Path) -> None:
    answers = [("miss", "k0"), ("hit", "k0"), ("bypass", None), ("bypass", None)]
    records = [
        each
        for n, (answer, key) in enumerate(answers)
        for each in (piecewise_start(n), asked(answer, key, frame_id=None))
    ]
    assert counts(cold_record(counters={SAVED: 0}), traced(tmp_path, *records))["vLLM, artifacts"].misses == 3


def test_a_nested_compile_is_not_an_artifact_of_vllm(tmp_path: Path) -> None:
    trace = traced(
        tmp_path, piecewise_start(0), asked("miss", "nested", frame_id=7), asked("miss", "k0", frame_id=None)
    )
    assert counts(cold_record(counters={SAVED: 0}), trace)["vLLM, artifacts"].misses == 1


@pytest.mark.parametrize(
    ("counters", "misses"),
    [
        ({SAVED: 3, LOADED: 0, INDUCTOR: 9}, 3),
        ({SAVED: 0, LOADED: 3, INDUCTOR: 6}, 0),
        ({SAVED: 0, LOADED: 0, INDUCTOR: 0}, 0),
        ({SAVED: 0, LOADED: 0, INDUCTOR: 9}, None),
        ({SAVED: 0, LOADED: 0}, None),
    ],
    ids=["saved", "loaded", "nothing compiled", "compiled and not saved", "not counted"],
)
def test_without_a_trace_misses_come_from_the_counters_if_at_all(counters: dict[str, int], misses: int | None) -> None:
    assert counts(cold_record(counters=counters), TraceCounter())["vLLM, artifacts"].misses == misses


def test_the_layer_of_whole_functions_is_off_if_none_was_looked_up() -> None:
    found = counts(cold_record(counters={**AOT, "vllm.num_aot_compiles": 0}, environment=OFF))
    assert found["vLLM, whole function"] == LayerCounts(hits=0, misses=0, saved=1, is_off=True)
    assert not found["AOTAutograd"].is_off


@pytest.mark.parametrize("value", ["0", ""])
def test_a_switch_that_is_not_set_switches_nothing_off(value: str) -> None:
    cold = cold_record(environment={"VLLM_DISABLE_COMPILE_CACHE": value})
    assert not counts(cold)["vLLM, artifacts"].is_off


# All layers


def test_every_counter_goes_to_its_layer() -> None:
    names = {
        "vllm.num_aot_artifacts_loaded": 1,
        "vllm.num_aot_compiles": 2,
        "vllm.num_aot_artifacts_saved": 3,
        LOADED: 4,
        SAVED: 5,
        "torch.aot_autograd.autograd_cache_hit": 6,
        MISSES: 7,
        "torch.aot_autograd.autograd_cache_bypass": 8,
        "torch.aot_autograd.autograd_cache_saved": 9,
        "torch.inductor.fxgraph_cache_hit": 10,
        "torch.inductor.fxgraph_cache_miss": 11,
        "torch.inductor.fxgraph_cache_bypass": 12,
    }
    found = counts(cold_record(counters=names))
    assert found["vLLM, whole function"] == LayerCounts(hits=1, misses=2, saved=3)
    assert found["vLLM, artifacts"] == LayerCounts(hits=4, misses=5, saved=5)
    assert found["AOTAutograd"] == LayerCounts(hits=6, misses=7, bypasses=8, saved=9)
    assert found["FX graph"] == LayerCounts(hits=10, misses=11, bypasses=12)


def test_counters_that_this_version_does_not_have_are_not_0() -> None:
    record = cold_record()
    assert record.facts
    record.facts.counters.clear()
    for name, found in counts(record, TraceCounter()).items():
        assert found.hits is None, name
        assert (found.misses, found.saved) == ((0, 0) if "kernels" in name else (None, None)), name


@pytest.mark.parametrize(
    ("cold", "warm", "sides"),
    [
        (cold_record(), None, {(True, False)}),
        (cold_record(), unfinished_record(StartKind.WARM), {(True, False)}),
        (unfinished_record(), warm_record(), {(False, True)}),
        (unfinished_record(), None, set()),
        (None, None, set()),
    ],
    ids=["only cold", "warm crashed", "cold crashed", "both", "none"],
)
def test_a_start_that_did_not_finish_has_no_counts(
    cold: StartRecord | None, warm: StartRecord | None, sides: set[tuple[bool, bool]]
) -> None:
    layers = cache_layers(cold, warm, counter(), counter())
    assert {(layer.cold is not None, layer.warm is not None) for layer in layers} == sides


def test_kernels_without_a_written_file_came_from_a_cache() -> None:
    files = ["inductor/a/x.main.so", "inductor/a/x.main.cpp", "inductor/b/wrapper.so", "triton/k/k.cubin", "t/k.hsaco"]
    found = counts(cold_record(files_written=files), counter(native=3, triton=5))
    assert found["C++ kernels"] == LayerCounts(hits=2, misses=1, saved=1)
    assert found["Triton kernels"] == LayerCounts(hits=3, misses=2, saved=2)


def test_more_files_than_kernels_in_the_trace_do_not_give_negative_hits() -> None:
    found = counts(cold_record(files_written=["a.main.so", "k.cubin"]), counter())
    assert (found["C++ kernels"].hits, found["Triton kernels"].hits) == (0, 0)


def test_without_a_trace_hits_of_kernels_are_not_counted() -> None:
    found = counts(cold_record(files_written=["a.main.so"]), TraceCounter())
    assert found["C++ kernels"] == LayerCounts(hits=None, misses=1, saved=1)


def test_kernels_of_all_ranks_count(tmp_path: Path) -> None:
    for rank in (0, 1):
        code = "a = async_compile.cpp_pybinding(1)\nb = async_compile.triton('x')\nc = async_compile.triton('y')"
        write_trace(tmp_path, asked("miss"), ({"inductor_output_code": {}}, code, 1), name=f"t_rank_{rank}_a.log")
    kernels = TraceCounter()
    read_trace(tmp_path, kernels, vocabulary=TRACE)
    assert (kernels.native, kernels.triton) == (2, 4)


def test_kernels_are_not_counted_if_the_list_of_written_files_was_cut_off() -> None:
    # In the order of paths, 5000 other files come before the kernel's.
    files = [f"inductor/a/{number:04}.py" for number in range(5000)]
    found = counts(cold_record(files_written=files), counter(triton=1))["Triton kernels"]
    assert found == LayerCounts(hits=None, misses=None, saved=None)
