from __future__ import annotations

from typing import Any

import pytest

from coldwarm.checks.invariants import Starts, check_invariants
from coldwarm.core.checks import Check
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import LayerKind, Message, StartRecord
from tests.support.records import (
    LOADED,
    MISSES,
    SAVED,
    cold_record,
    compiler_work,
    generated_tokens,
    model_entry,
    warm_facts,
    warm_record,
)

DENSE = LayerKind(layer_class="DenseLayer", layers=1, parameters=6)
MOE = LayerKind(layer_class="MoELayer", layers=7, parameters=8)


def checks(
    cold: StartRecord | None = None, warm: StartRecord | None = None, entry: ModelEntry | None = None
) -> list[Check]:
    return check_invariants(Starts(cold or cold_record(), warm or warm_record(), entry or model_entry()))


def failing(*, cold: StartRecord | None = None, warm: StartRecord | None = None, **entry: Any) -> list[Check]:
    return [check for check in checks(cold, warm, model_entry(**entry)) if not check.holds]


def the_only_failure(*, cold: StartRecord | None = None, warm: StartRecord | None = None, **entry: Any) -> Check:
    [check] = failing(cold=cold, warm=warm, **entry)
    return check


def test_a_healthy_pair_without_recorded_kernels_passes_six_invariants_in_order() -> None:
    found = checks()
    assert [check.id for check in found] == [each for each in InvariantId if each is not InvariantId.READY_NO_COMPILER]
    assert all(check.holds for check in found)


def test_cold_must_not_load() -> None:
    check = the_only_failure(cold=cold_record(counters={LOADED: 2}))
    assert check.id == InvariantId.COMPILES
    assert "loaded 2 (expected 0)" in check.words


def test_cold_must_start_with_empty_caches() -> None:
    check = the_only_failure(cold=cold_record(caches_as_left=False))
    assert check.id == InvariantId.COMPILES
    assert check.words.endswith("its caches were not empty when it began")


@pytest.mark.parametrize("saved", [0, -1])
def test_a_start_that_compiles_nothing_never_passes(saved: int) -> None:
    found = failing(cold=cold_record(counters={SAVED: saved}), warm=warm_record(counters={LOADED: saved}))
    assert [check.id for check in found] == [InvariantId.COMPILES, InvariantId.LOADS_ALL]
    assert "so caching cannot be verified" in found[0].words


def test_a_start_without_counters_never_passes() -> None:
    cold, warm = cold_record(), warm_record()
    assert cold.facts and warm.facts
    cold.facts.counters.clear()
    warm.facts.counters.clear()
    assert [check.id for check in failing(cold=cold, warm=warm)] == [InvariantId.COMPILES, InvariantId.LOADS_ALL]


def test_cold_must_compile_each_unique_subgraph_once() -> None:
    check = the_only_failure(cold=cold_record(counters={SAVED: 4}), warm=warm_record(counters={LOADED: 4}))
    assert check.id == InvariantId.ONLY_UNIQUE
    assert "cold start saved 4 artifacts (expected at most 3: 1 layer kind + 2; catalog: dense)" in check.words


def test_each_layer_kind_may_be_compiled_once() -> None:
    cold, warm = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4})
    assert failing(cold=cold, warm=warm, layer_kinds=["dense", "MoE"]) == []
    cold, warm = cold_record(counters={SAVED: 5}), warm_record(counters={LOADED: 5})
    check = the_only_failure(cold=cold, warm=warm, layer_kinds=["dense", "MoE"])
    assert "2 layer kinds + 2; catalog: dense, MoE" in check.words


def test_layer_kinds_missing_from_the_catalog_are_derived_from_the_cold_start() -> None:
    cold, warm = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4})
    cold.processes[0].layer_kinds = [DENSE, MOE]
    assert failing(cold=cold, warm=warm, layer_kinds=None) == []
    cold.processes[0].layer_kinds = [MOE]
    check = the_only_failure(cold=cold, warm=warm, layer_kinds=None)
    assert check.id == InvariantId.ONLY_UNIQUE
    assert "derived from the classes and parameter shapes of its layers: 7 MoELayer" in check.words


def test_layer_kinds_in_the_catalog_override_derived_ones() -> None:
    cold, warm = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4})
    cold.processes[0].layer_kinds = [DENSE, MOE]
    assert the_only_failure(cold=cold, warm=warm, layer_kinds=["dense"]).id == InvariantId.ONLY_UNIQUE


@pytest.mark.parametrize(("ranges", "saved", "holds"), [(1, 3, True), (1, 6, False), (2, 6, True), (2, 7, False)])
def test_each_compile_range_may_have_its_own_artifacts(ranges: int, saved: int, holds: bool) -> None:
    work = compiler_work(compile_ranges=ranges)
    found = checks(cold_record(counters={SAVED: saved}, compiler_work=work), warm_record(counters={LOADED: saved}))
    assert [check.holds for check in found if check.id == InvariantId.ONLY_UNIQUE] == [holds]


def test_warm_must_save_nothing() -> None:
    check = the_only_failure(warm=warm_record(counters={SAVED: 1}))
    assert check.id == InvariantId.SAVES_NOTHING
    assert check.words == "warm start saved 1 artifact (expected 0)"


@pytest.mark.parametrize("loaded", [0, 2, 4])
def test_warm_must_load_what_cold_saved(loaded: int) -> None:
    check = the_only_failure(warm=warm_record(counters={LOADED: loaded}))
    assert check.id == InvariantId.LOADS_ALL
    assert f"loaded {loaded} of 3 artifacts" in check.words


def test_warm_must_start_with_the_caches_that_cold_left() -> None:
    check = the_only_failure(warm=warm_record(caches_as_left=False))
    assert check.id == InvariantId.LOADS_ALL
    assert "not those that the cold start left" in check.words


def test_a_logged_load_failure_is_evidence() -> None:
    logger = "vllm.compilation.decorators"
    messages = [
        Message(logger=logger, level="WARNING", text="Compiling model again due to a load failure from /x"),
        Message(logger=logger, level="WARNING", text="something else"),
    ]
    check = the_only_failure(warm=warm_record(messages=messages))
    assert check.id == InvariantId.LOADS_ALL
    assert check.evidence == [f"{logger} WARNING: Compiling model again due to a load failure from /x"]


def test_a_load_failure_in_the_cold_start_is_not_evidence() -> None:
    message = Message(logger="vllm", level="WARNING", text="load failure")
    assert failing(cold=cold_record(messages=[message])) == []


def test_warm_must_not_miss_the_compilers_cache() -> None:
    check = the_only_failure(warm=warm_record(counters={MISSES: 1}))
    assert check.id == InvariantId.NO_COMPILER
    assert "1 AOTAutograd cache miss (expected 0)" in check.words


def test_warm_must_not_generate_code() -> None:
    check = the_only_failure(warm=warm_record(compiler_work=compiler_work(code_generations=2)))
    assert check.id == InvariantId.NO_COMPILER
    assert "2 code generations in the trace (expected 0)" in check.words


@pytest.mark.parametrize("work", [None, compiler_work(files=0, records=0)])
def test_without_a_warm_trace_code_generation_cannot_be_ruled_out(work: object) -> None:
    check = the_only_failure(warm=warm_record(compiler_work=work))
    assert check.id == InvariantId.NO_COMPILER
    assert "no trace was written" in check.words


@pytest.mark.parametrize("work", [compiler_work(records=0), compiler_work(records=0, garbled_lines=50)])
def test_an_empty_trace_does_not_rule_out_code_generation(work: object) -> None:
    assert the_only_failure(warm=warm_record(compiler_work=work)).id == InvariantId.NO_COMPILER


def test_the_trace_of_the_cold_start_may_be_missing() -> None:
    assert failing(cold=cold_record(compiler_work=None)) == []


def test_warm_must_generate_the_same_output() -> None:
    tokens = generated_tokens()
    tokens[3].token_id = 999
    check = the_only_failure(warm=warm_record(facts=warm_facts(generated=tokens)))
    assert check.id == InvariantId.SAME_OUTPUT
    assert "token 4 differs" in check.words


def test_the_message_about_equal_outputs_counts_the_tokens() -> None:
    assert checks()[-1].words.endswith("8 tokens and their log-probabilities agree")


def test_only_finished_starts_are_checked() -> None:
    with pytest.raises(AssertionError, match="only finished starts"):
        Starts(cold_record(facts=None), warm_record(), model_entry())
