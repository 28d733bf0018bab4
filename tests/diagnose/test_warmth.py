from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_keys import CacheEntry, CacheKeys
from coldwarm.core.cache_use import CacheUse
from coldwarm.core.compiler_work import CompiledFunction
from coldwarm.core.kernels import Compiler, KernelEvent
from coldwarm.core.record import Message, ProcessReport, StartRecord
from coldwarm.diagnose.warmth import StartWarmth, Warmth, warmth_of
from tests.support.records import (
    LOADED,
    MISSES,
    SAVED,
    compiler_work,
    kernel_event,
    kernel_events,
    warm_facts,
    warm_record,
)

Factors = dict[str, dict[str, str]]
COMPILED = {SAVED: 3, LOADED: 0, MISSES: 3}


def entry(folder: str, environment: dict[str, str], keys: Factors | None = None) -> CacheEntry:
    stored = CacheKeys(factors={"environment": environment, "config": {"hash": str(keys)}})
    return CacheEntry(folder=folder, modified=0.0, stored=stored, keys=CacheKeys(factors=keys) if keys else None)


def start(counters: dict[str, int] | None = None, **fields: Any) -> StartRecord:
    processes = [
        ProcessReport(pid=1, role="API server"),
        ProcessReport(pid=2, role="worker", rank=0, counters=counters or {SAVED: 0, LOADED: 3}),
    ]
    return warm_record(**{"processes": processes, "command": ["serve"], **fields})


def whys(found: StartWarmth) -> list[str]:
    return [reason.what for reason in found.reasons]


@pytest.mark.parametrize(
    ("counters", "warmth"),
    [
        ({SAVED: 0, LOADED: 3}, Warmth.WARM),
        ({SAVED: 1, LOADED: 2}, Warmth.PARTLY),
        (COMPILED, Warmth.COLD),
        ({SAVED: 0, LOADED: 3, MISSES: 1}, Warmth.PARTLY),
        ({SAVED: 0, LOADED: 0}, Warmth.NOTHING),
    ],
)
def test_the_warmth_of_a_start_is_that_of_its_least_warm_process(counters: dict[str, int], warmth: Warmth) -> None:
    found = warmth_of(start(counters), [], [])
    assert found.warmth is warmth
    assert [process.warmth for process in found.processes] == [Warmth.NOTHING, warmth]


def kernels(*events: KernelEvent) -> StartRecord:
    """Return a start that loaded all graphs, and what its kernel compilers did."""
    [worker] = [each for each in start().processes if each.rank == 0]
    return start(processes=[worker.model_copy(update={"kernels": kernel_events(*events)})])


IN_MEMORY: dict[str, Any] = {
    "compiler": Compiler.CUTE_DSL,
    "cache_folder": None,
    "why_not_cached": "cute.compile has no cache on disk",
}


def in_triton(kernel: str, **fields: Any) -> KernelEvent:
    return kernel_event(kernel=kernel, compiler=Compiler.TRITON, why_not_cached=None, **fields)


def test_kernels_that_were_compiled_are_named_with_their_compiler_and_the_reason() -> None:
    found = warmth_of(
        kernels(
            *(kernel_event(kernel="gemm", key=f"{n}", begin=10.0 + n, seconds=2.0, **IN_MEMORY) for n in range(3)),
            in_triton("one", begin=1.0, seconds=0.5, cache_folder="/c/t/a"),
            in_triton("two", begin=2.0, seconds=0.25, cache_folder="/c/t/b"),
        ),
        [],
        [],
    )
    assert found.warmth is Warmth.PARTLY
    assert whys(found) == [
        "CuTe DSL compiled `gemm` (3 keys, 4.0 s): kept only in memory: cute.compile has no cache on disk",
        "Triton compiled `one`, `two` (2 keys, 0.8 s): not found in its cache",
    ]
    assert found.reasons[1].next == "keep /c/t on a volume or in the image, if it does not outlive the container"
    assert not found.is_unavoidable


def test_a_start_that_compiled_only_what_no_cache_has_says_so() -> None:
    in_memory = kernel_event(kernel="gemm", **IN_MEMORY)
    assert warmth_of(kernels(in_memory), [], []).is_unavoidable
    assert not warmth_of(start(), [], []).is_unavoidable
    graphs = start(COMPILED)
    graphs.processes[1].kernels = kernel_events(in_memory)
    assert not warmth_of(graphs, [], []).is_unavoidable, "its graphs could have been loaded"


GROUPED_TOPK = "grouped_topk (/venv/vllm/model_executor/layers/fused_moe/router/grouped_topk_router.py:76)"
OTHER = "other (/model.py:3)"


@pytest.mark.parametrize(
    ("missed", "changed", "is_unavoidable"),
    [
        ([GROUPED_TOPK], {}, True),
        ([GROUPED_TOPK, OTHER], {}, False),
        ([GROUPED_TOPK], {"counters": {LOADED: 3, SAVED: 0, MISSES: 2}}, False),
        ([GROUPED_TOPK], {"code_generations": 1}, False),
        ([GROUPED_TOPK], {"vllm": "0.34.0"}, False),
    ],
)
def test_a_function_that_misses_its_cache_by_a_known_issue_is_named_and_unavoidable(
    missed: list[str], changed: dict[str, Any], is_unavoidable: bool
) -> None:
    counters = changed.get("counters", {LOADED: 3, SAVED: 0, MISSES: len(missed)})
    functions = [CompiledFunction(rank=0, name=name, missed=["key"], seconds=0.5) for name in missed]
    record = start(
        counters,
        device="cuda",
        facts=warm_facts(versions={"vllm": changed.get("vllm", "0.33.0")}),
        compiler_work=compiler_work(functions=functions, code_generations=changed.get("code_generations", 0)),
    )
    found = warmth_of(record, [], [])
    assert found.warmth is Warmth.PARTLY
    assert found.is_unavoidable is is_unavoidable
    issue = ": known issue grouped-topk-misses-its-cache (coldwarm show grouped-topk-misses-its-cache)"
    is_known = "vllm" not in changed
    assert whys(found)[0] == (
        f"torch.compile of {GROUPED_TOPK} missed the AOTAutograd cache, 0.5 s{issue if is_known else ''}"
    )


def test_each_process_of_a_rank_counts() -> None:
    # As with data parallelism: the last process has loaded everything.
    in_memory = kernel_events(kernel_event(kernel="gemm", **IN_MEMORY))
    processes = [
        ProcessReport(pid=n, rank=0, kernels=in_memory, counters=counters)
        for n, counters in enumerate(({SAVED: 3, LOADED: 0}, {SAVED: 0, LOADED: 3}))
    ]
    assert not warmth_of(start(processes=processes, compiler_work=compiler_work()), [], []).is_unavoidable
    assert warmth_of(start(processes=processes[1:], compiler_work=compiler_work()), [], []).is_unavoidable
    missed = [ProcessReport(pid=n, rank=0, counters={SAVED: 0, LOADED: 3, MISSES: 1}) for n in range(2)]
    record = start(
        processes=missed,
        device="cuda",
        facts=warm_facts(versions={"vllm": "0.33.0"}, processes=missed),
        compiler_work=compiler_work(functions=[CompiledFunction(rank=0, name=GROUPED_TOPK, missed=["a", "b"])]),
    )
    assert warmth_of(record, [], []).is_unavoidable


def test_without_a_trace_nothing_is_unavoidable() -> None:
    record = kernels(kernel_event(kernel="gemm", **IN_MEMORY))
    assert warmth_of(record, [], []).is_unavoidable
    without = record.model_copy(update={"compiler_work": compiler_work(records=0)})
    assert not warmth_of(without, [], []).is_unavoidable


def test_kernels_of_a_process_without_a_rank_count() -> None:
    record = start()
    record.processes[0].kernels = kernel_events(in_triton("one"))
    found = warmth_of(record, [], [])
    assert [process.warmth for process in found.processes] == [Warmth.COLD, Warmth.WARM]
    assert found.processes[0].did == ["1 kernel compiled"]


def test_events_of_kernels_that_were_not_recorded_are_not_observed() -> None:
    record = kernels(kernel_event(kernel="gemm", **IN_MEMORY))
    worker = record.processes[0]
    assert worker.kernels is not None
    worker.kernels.dropped = 7
    assert warmth_of(record, [], []).unobserved == ["7 more events of kernels in process 2"]


def test_kernels_in_tritons_default_folder_were_stored_by_inductor_elsewhere() -> None:
    folder = "/users/me/.triton/cache"
    found = warmth_of(
        kernels(in_triton("one", cache_folder=f"{folder}/a"), in_triton("two", cache_folder=f"{folder}/b")), [], []
    )
    assert found.reasons[0].next == (
        "set TRITON_CACHE_DIR to a folder that outlives the container; unless it is set, a start that compiles graphs "
        f"stores Triton's kernels in Inductor's cache, and a start that loads graphs looks in {folder}"
    )
    assert not found.is_unavoidable


@pytest.mark.parametrize(
    ("counters", "written", "is_told"),
    [({SAVED: 0, LOADED: 3}, 0, False), ({SAVED: 0, LOADED: 3}, 2, True), (COMPILED, 0, True)],
)
def test_a_cache_that_a_warm_start_only_read_has_no_problem(
    counters: dict[str, int], written: int, is_told: bool
) -> None:
    problem = "/c is on the container's own file system, which is lost with it"
    use = CacheUse(
        folder="/c", file_system="overlay", problem=problem, found=9, found_all=True, read=9, written=written
    )
    [found] = warmth_of(start(counters), [], [], caches=[use]).caches
    assert found.problem == (problem if is_told else None)


def test_a_rank_that_compiles_while_another_waits_is_named_with_its_key() -> None:
    processes = [
        ProcessReport(pid=2 + rank, rank=rank, counters=counters, cache_keys=CacheKeys(factors={"environment": key}))
        for rank, (counters, key) in enumerate([({SAVED: 0, LOADED: 3}, {"VLLM_A": "1"}), (COMPILED, {"VLLM_A": "2"})])
    ]
    found = whys(warmth_of(start(processes=processes), [], []))
    assert found == [
        "rank 1 differs from rank 0: saved 3 artifacts instead of 0, loaded 0 artifacts instead of 3, compiled "
        "(3 AOTAutograd cache misses) while rank 0 waited",
        "ranks have different cache keys, environment: VLLM_A is 1 in rank 0, 2 in rank 1",
    ]


def test_code_generation_alone_is_compiling() -> None:
    found = warmth_of(start(compiler_work=compiler_work(code_generations=1)), [], [])
    assert found.warmth is Warmth.PARTLY


def test_two_causes_at_once_are_both_named_with_both_values() -> None:
    # `far` is more different.
    before = [
        entry(
            "far",
            {"VLLM_A": "9", "VLLM_B": "9"},
            {"environment": {"VLLM_A": "9", "VLLM_B": "9"}, "config.additional_config": {"worker": "9"}},
        ),
        entry("near", {"VLLM_A": "1"}, {"environment": {"VLLM_A": "1"}, "config.additional_config": {"worker": "1"}}),
    ]
    made = entry("new", {"VLLM_A": "2"}, {"environment": {"VLLM_A": "2"}, "config.additional_config": {"worker": "2"}})
    found = whys(warmth_of(start(COMPILED), before, [*before, made]))
    assert len(found) == 2
    assert "VLLM_A is part of vLLM's cache key and changed: 1 in the cache, 2 now" in " ".join(found)
    assert "additional_config.worker is part of vLLM's cache key and changed: 1 in the cache, 2 now" in " ".join(found)
    assert "(compared with the nearest entry, near)" in found[0]


def test_without_stored_components_variables_are_named_and_the_rest_is_a_hash() -> None:
    before = [entry("old", {"VLLM_A": "1"})]
    made = CacheEntry(
        folder="new",
        modified=0.0,
        stored=CacheKeys(factors={"environment": {"VLLM_A": "2"}, "config": {"hash": "x"}}),
        keys=CacheKeys(factors={"environment": {"VLLM_A": "2"}}),
    )
    found = " ".join(whys(warmth_of(start(COMPILED), before, [*before, made])))
    assert "VLLM_A" in found
    assert "hash of the config" in found


def test_an_empty_cache_is_the_reason() -> None:
    assert whys(warmth_of(start(COMPILED), [], [entry("new", {})])) == ["the cache had no entry of any start"]


def test_a_function_that_could_not_be_loaded_is_the_reason() -> None:
    message = Message(
        logger="vllm",
        level="WARNING",
        text="Compiling model again due to a load failure from /c/model, reason: no such",
    )
    process = ProcessReport(pid=2, role="worker", rank=0, counters=COMPILED, messages=[message])
    assert whys(warmth_of(start(processes=[process]), [], [])) == [
        "/c/model was found and could not be loaded: no such"
    ]


def test_what_could_not_be_observed_is_listed() -> None:
    process = ProcessReport(pid=3, role="not observed", failed_probes={"process": "no reason"})
    found = warmth_of(start(processes=[process]), [], [], ["it failed"])
    assert found.unobserved == ["it failed", "process 3 (not observed): no reason"]
    assert found.processes == []


def test_a_cache_that_is_lost_is_a_further_reason_unless_the_start_was_warm() -> None:
    problem = "/c is on the container's own file system"
    assert whys(warmth_of(start(COMPILED), [], [entry("new", {})], (), problem))[1:] == [problem]
    assert whys(warmth_of(start(), [], [], (), problem)) == []


def test_a_process_that_failed_to_be_observed_does_not_matter_if_others_were() -> None:
    assert warmth_of(start(), [], [], ["no module named pydantic"]).unobserved == []


def test_replicas_with_the_same_rank_are_counted_by_themselves() -> None:
    processes = [
        ProcessReport(pid=1, rank=0, counters=COMPILED),
        ProcessReport(pid=2, rank=0, counters={LOADED: 3}),
    ]
    work = compiler_work(code_generations=3, code_generations_by_rank={0: 3}, traced_ranks=[0])
    found = warmth_of(start(processes=processes, compiler_work=work), [], [])
    assert [process.warmth for process in found.processes] == [Warmth.COLD, Warmth.WARM]
