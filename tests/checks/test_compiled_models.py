"""Invariant 2 in starts that compile several models: each model has its own limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from coldwarm.checks.verdict import Status, Verdict, judge
from coldwarm.core.checks import Check
from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup
from coldwarm.core.depth import Depth
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.record import LayerKind, ModelLayers
from tests.support.records import (
    LOADED,
    SAVED,
    cold_facts,
    cold_record,
    compiler_work,
    expectation,
    model_entry,
    warm_record,
)

MAIN, DRAFTER = "backbone", "eagle_head"
FIRST, BETWEEN, LAST = range(3)
ALIKE = {f"modules_layers_modules_{n}": 0 for n in range(5)}
DRAFT_LAYERS = ModelLayers(
    name=DRAFTER,
    layer_kinds=[LayerKind(layer_class="DraftLayer", layers=5, parameters=6)],
    layer_configurations=ALIKE,
)
NO_LAYERS = ModelLayers(name=DRAFTER)


def graph(
    name: str | None, number: int, between: Sequence[int], compile_range: tuple[int, int] = (1, 64)
) -> CompiledGraph:
    """A model with a first and a last subgraph; `between` are the sizes of the groups that share an artifact."""
    paths = iter(f"modules_layers_modules_{n}" for n in range(sum(between)))
    groups = [
        SubgraphGroup(submodules=["submod"] * size, part=BETWEEN, layers=[[next(paths)] for _ in range(size)])
        for size in between
    ]
    ends = [SubgraphGroup(submodules=["submod"], part=part, layers=[[]]) for part in (FIRST, LAST)]
    return CompiledGraph(rank=0, model=number, name=name, compile_range=compile_range, groups=[*ends, *groups])


HEALTHY, INDEX_IN_ALL, INDEX_IN_FIRST = (5,), (1, 1, 1, 1, 1), (1, 4)


def judged(
    *graphs: CompiledGraph,
    further: Sequence[ModelLayers] = (DRAFT_LAYERS,),
    kinds: Sequence[str] | None = ("dense",),
    saved: int | None = None,
    main: str | None = MAIN,
    configurations: Mapping[str, int] = ALIKE,
) -> Verdict:
    saved = sum(len(each.groups) for each in graphs) if saved is None else saved
    facts = cold_facts(
        layer_configurations=configurations, main_model=main, further_models=further, counters={SAVED: saved}
    )
    cold = cold_record(facts=facts, compiler_work=compiler_work(graphs=graphs))
    return judge(model_entry(layer_kinds=kinds), cold, warm_record(counters={LOADED: saved}))


def only_unique(verdict: Verdict) -> Check:
    [check] = [check for check in verdict.checks if check.id == InvariantId.ONLY_UNIQUE]
    return check


@pytest.mark.parametrize("kinds", [("dense",), None])
def test_a_healthy_drafter_has_artifacts_in_addition_to_those_of_the_main_model(kinds: Sequence[str] | None) -> None:
    verdict = judged(graph(MAIN, 0, HEALTHY), graph(DRAFTER, 1, HEALTHY), kinds=kinds)
    assert verdict.status is Status.PASSED
    check = only_unique(verdict)
    assert check.is_checked
    assert "cold start saved 6 artifacts; backbone: 3, expected at most 3" in check.words
    assert "eagle_head: 3, expected at most 3 (one for each part of the model and each configuration" in check.words


@pytest.mark.parametrize("kinds", [("dense",), None])
@pytest.mark.parametrize(
    ("main", "drafter", "over"),
    [
        (HEALTHY, INDEX_IN_ALL, 4),
        (HEALTHY, INDEX_IN_FIRST, 1),
        (INDEX_IN_ALL, HEALTHY, 4),
        (INDEX_IN_ALL, INDEX_IN_FIRST, 5),
    ],
)
def test_a_layer_index_in_the_graph_of_either_model_fails(
    main: Sequence[int], drafter: Sequence[int], over: int, kinds: Sequence[str] | None
) -> None:
    verdict = judged(graph(MAIN, 0, main), graph(DRAFTER, 1, drafter), kinds=kinds)
    assert verdict.status is Status.FAILED
    assert only_unique(verdict).artifacts_over_limit == over


def test_a_model_cannot_use_the_unused_limit_of_another() -> None:
    verdict = judged(graph(MAIN, 0, HEALTHY), graph(DRAFTER, 1, INDEX_IN_FIRST), kinds=("dense", "MoE"))
    assert verdict.status is Status.FAILED
    check = only_unique(verdict)
    assert check.artifacts_over_limit == 1
    assert "backbone: 3, expected at most 4 (2 layer kinds + 2; catalog: dense, MoE)" in check.words
    assert "eagle_head: 4, expected at most 3" in check.words


def test_layer_kinds_in_the_catalog_apply_only_to_the_main_model() -> None:
    encoder = ModelLayers(name="VisionTransformer", layer_configurations=ALIKE)
    graphs = graph("VisionTransformer", 0, INDEX_IN_FIRST), graph(MAIN, 1, HEALTHY)
    verdict = judged(*graphs, further=[encoder], kinds=("dense", "MoE"))
    assert verdict.status is Status.FAILED
    assert "VisionTransformer: 4, expected at most 3 (one for each part" in only_unique(verdict).words
    # It may be all that a start compiled.
    verdict = judged(graphs[0], further=[encoder], kinds=("dense", "MoE"))
    assert only_unique(verdict).artifacts_over_limit == 1


def test_a_drafter_without_known_layers_is_noted_and_not_failed() -> None:
    verdict = judged(graph(MAIN, 0, HEALTHY), graph(DRAFTER, 1, INDEX_IN_ALL), further=[NO_LAYERS])
    assert verdict.status is Status.PASSED
    check = only_unique(verdict)
    assert not check.is_checked
    assert check.words in verdict.notes
    assert "eagle_head: 7, not checked, because none of its layers were found" in check.words


def test_a_drafter_that_reruns_its_layers_is_noted_and_not_failed() -> None:
    drafter = graph(DRAFTER, 1, INDEX_IN_FIRST)
    drafter.groups[3].layers[0] = drafter.groups[2].layers[0]
    verdict = judged(graph(MAIN, 0, HEALTHY), drafter)
    assert verdict.status is Status.PASSED
    assert "eagle_head: 4, not checked, because it runs its layers several times" in verdict.notes[0]


def test_the_main_model_is_checked_if_its_drafter_cannot_be() -> None:
    verdict = judged(graph(MAIN, 0, INDEX_IN_FIRST), graph(DRAFTER, 1, INDEX_IN_ALL), further=[NO_LAYERS])
    assert verdict.status is Status.FAILED
    check = only_unique(verdict)
    assert (check.artifacts_over_limit, check.is_checked) == (1, True)


def test_catalog_layer_kinds_apply_to_the_first_model_with_the_main_models_name() -> None:
    verdict = judged(graph(MAIN, 0, HEALTHY), graph(MAIN, 1, INDEX_IN_FIRST), kinds=("dense", "MoE"), further=())
    assert only_unique(verdict).artifacts_over_limit == 1


def test_each_model_has_its_own_number_of_compile_ranges() -> None:
    main = [graph(MAIN, 0, HEALTHY), graph(MAIN, 0, HEALTHY, (1, 1))]
    verdict = judged(*main, graph(DRAFTER, 1, HEALTHY))
    assert verdict.status is Status.PASSED
    assert (
        "backbone: 6, expected at most 6 (1 layer kind + 2, for each of 2 compile ranges" in only_unique(verdict).words
    )
    verdict = judged(*main, graph(DRAFTER, 1, INDEX_IN_FIRST))
    assert only_unique(verdict).artifacts_over_limit == 1


def test_without_recorded_names_the_first_model_is_the_main_one_and_the_layers_of_others_are_unknown() -> None:
    verdict = judged(graph(None, 0, HEALTHY), graph(None, 1, INDEX_IN_ALL), main=None, further=())
    assert verdict.status is Status.PASSED
    assert "model 2: 7, not checked" in verdict.notes[0]
    verdict = judged(graph(None, 0, INDEX_IN_FIRST), graph(None, 1, HEALTHY), main=None, further=())
    assert only_unique(verdict).artifacts_over_limit == 1


def test_only_the_first_rank_counts() -> None:
    graphs = [graph(MAIN, 0, HEALTHY), graph(DRAFTER, 1, HEALTHY)]
    others = [each.model_copy(update={"rank": 1}) for each in graphs]
    verdict = judged(*graphs, *others, saved=6)
    assert "backbone: 3, expected at most 3" in only_unique(verdict).words
    assert verdict.status is Status.PASSED


@pytest.mark.parametrize(("fewer", "over"), [(0, 1), (1, 0)])
def test_byte_identical_artifacts_do_not_exceed_a_limit(fewer: int, over: int) -> None:
    graphs = graph(MAIN, 0, HEALTHY), graph(DRAFTER, 1, INDEX_IN_FIRST)
    verdict = judged(*graphs, saved=7 - fewer)
    assert only_unique(verdict).artifacts_over_limit == over


def test_more_artifacts_than_the_limits_of_all_models_fail() -> None:
    verdict = judged(graph(MAIN, 0, HEALTHY), graph(DRAFTER, 1, HEALTHY), saved=8)
    assert only_unique(verdict).artifacts_over_limit == 2


@pytest.mark.parametrize(("saved", "is_checked"), [(3, True), (6, False)])
def test_without_graphs_possible_artifacts_of_a_drafter_do_not_fail_the_main_model(
    saved: int, is_checked: bool
) -> None:
    verdict = judged(saved=saved)
    assert verdict.status is Status.PASSED
    check = only_unique(verdict)
    assert check.is_checked == is_checked
    assert is_checked or (check.words in verdict.notes and "main model: eagle_head" in check.words)
    assert judged(saved=6, further=()).status is Status.FAILED


def traced(between: Sequence[int], further: Sequence[ModelLayers] = (DRAFT_LAYERS,), **entry: Any) -> Verdict:
    facts = cold_facts(layer_configurations=ALIKE, main_model=MAIN, further_models=list(further))
    work = compiler_work(subgraphs_unique=2 + len(between), graphs=[graph(MAIN, 0, between)])
    return judge(model_entry(**entry), cold_record(facts=facts, compiler_work=work, depth=Depth.TRACE), None)


def test_a_trace_that_ends_before_the_drafter_does_not_check_counters_that_include_it() -> None:
    counts = [expectation(cold={SAVED: 6})]
    verdict = traced(HEALTHY, expect=counts)
    assert verdict.status is Status.PASSED
    assert any(
        "--depth trace ends with the first model, and they also count eagle_head" in note for note in verdict.notes
    )
    assert traced(HEALTHY, further=(), expect=counts).status is Status.FAILED


def test_a_trace_that_ends_before_the_drafter_is_noted() -> None:
    verdict = traced(HEALTHY)
    assert verdict.status is Status.PASSED
    check = only_unique(verdict)
    assert not check.is_checked
    assert "eagle_head: not checked, because --depth trace ends with the first compiled model" in check.words
    assert check.words in verdict.notes


def test_a_trace_that_ends_before_the_drafter_fails_for_the_main_model() -> None:
    verdict = traced(INDEX_IN_FIRST)
    assert verdict.status is Status.FAILED
    assert only_unique(verdict).is_checked


BLOCKS = ModelLayers(name="VisionBlock", modules=12)


def encoded(*, loaded: int, warm: int, further: Sequence[ModelLayers] = (BLOCKS,)) -> Verdict:
    """Return the verdict on a model whose encoder has 12 blocks that the engine compiles one by one."""
    block = CompiledGraph(rank=0, model=0, name="VisionBlock", compile_range=(1, 64), groups=[_WHOLE])
    facts = cold_facts(
        layer_configurations=ALIKE, main_model=MAIN, further_models=further, counters={SAVED: 4, LOADED: loaded}
    )
    cold = cold_record(facts=facts, compiler_work=compiler_work(graphs=[block, graph(MAIN, 1, HEALTHY)]))
    return judge(model_entry(layer_kinds=["dense"]), cold, warm_record(counters={LOADED: warm}))


_WHOLE = SubgraphGroup(submodules=["submod"], part=FIRST, layers=[[]])


def broken(verdict: Verdict) -> list[InvariantId]:
    return [InvariantId(check.id) for check in verdict.checks if not check.holds]


def test_blocks_that_are_compiled_one_by_one_load_what_the_first_saved() -> None:
    assert broken(encoded(loaded=11, warm=15)) == []


def test_a_cold_start_loads_no_more_than_it_saved_for_other_modules() -> None:
    assert broken(encoded(loaded=12, warm=15)) == [InvariantId.COMPILES]
    only_one = [ModelLayers(name="VisionBlock")]
    assert broken(encoded(loaded=1, warm=4, further=only_one)) == [InvariantId.COMPILES]


def test_a_warm_start_loads_as_often_as_the_cold_start_saved_and_loaded() -> None:
    verdict = encoded(loaded=11, warm=4)
    assert broken(verdict) == [InvariantId.LOADS_ALL]
    [check] = [check for check in verdict.checks if check.id == InvariantId.LOADS_ALL]
    assert "loaded 4 of 4 artifacts saved by the cold start (expected 15" in check.words
