from __future__ import annotations

from dataclasses import replace

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup
from coldwarm.diagnose.explanation import Explanation
from coldwarm.report.html.graphs import SideBySide
from coldwarm.report.html.subgraph_map import ModelMap, maps_of
from coldwarm.suite.stored import judge_stored
from tests.report.html.suites import explained, graphs, pair
from tests.support.commands import ROOT
from tests.support.records import cold_record, compiler_work

UNSHARED = ROOT / "records" / "h200-2026-11-29-vllm-0.26"


def maps(*compiled: CompiledGraph, explanation: Explanation | None = None) -> list[ModelMap]:
    return maps_of(cold_record(compiler_work=compiler_work(graphs=list(compiled))), explanation)


def only(*compiled: CompiledGraph, explanation: Explanation | None = None) -> ModelMap:
    [found] = maps(*compiled, explanation=explanation)
    return found


def test_subgraphs_are_in_the_order_of_the_model_with_their_artifacts() -> None:
    found = only(graphs(), explanation=explained())
    assert [(cell.submodule, cell.artifact.letter) for cell in found.cells] == [
        ("submod_0", "A"),
        ("submod_2", "B"),
        ("submod_4", "C"),
        ("submod_6", "B"),
        ("submod_8", "D"),
    ]
    assert found.cells[2].words == "submod_4: artifact C, dense layer, layers 1-2, not shared with B"
    assert found.cells[0].words == "submod_0: artifact A, first, layer 0"


def test_what_is_not_shared_has_the_colour_of_its_part_and_another_shade() -> None:
    artifacts = only(graphs(), explanation=explained()).artifacts
    assert [(each.letter, each.colour, each.shade, each.apart_from) for each in artifacts] == [
        ("A", 0, 0, None),
        ("B", 1, 0, None),
        ("C", 1, 1, "B"),
        ("D", 2, 0, None),
    ]


def test_it_has_the_graphs_and_the_finding() -> None:
    [apart] = only(graphs(), explanation=explained()).apart
    assert apart.graphs == SideBySide.of(pair())
    assert apart.finding == explained().findings[0]


def test_each_model_has_its_own_finding_on_a_part_with_the_same_name() -> None:
    [found] = explained().findings
    of_models = [found.model_copy(update={"model": number, "where": f"{number}.py:1"}) for number in (1, 0)]
    stored = explained(models=explained().models * 2, findings=of_models, compared_graphs=None)
    both = maps(graphs(), graphs().model_copy(update={"model": 1}), explanation=stored)
    assert [apart.finding for each in both for apart in each.apart] == [of_models[1], of_models[0]]


def test_without_recorded_graphs_it_has_the_finding() -> None:
    [apart] = only(graphs(), explanation=explained(compared_graphs=None)).apart
    assert apart.graphs is None
    assert apart.finding is not None


def test_without_an_explanation_the_map_is_there() -> None:
    found = only(graphs())
    assert [artifact.part for artifact in found.artifacts] == [""] * 4
    assert found.cells[2].words == "submod_4: artifact C, layers 1-2, not shared with B"


def test_of_two_artifacts_with_equally_many_subgraphs_the_explanation_says_which_is_apart() -> None:
    groups = [SubgraphGroup(submodules=[f"submod_{n}"], part=0, layers=[[]]) for n in (2, 4)]
    graph = graphs().model_copy(update={"groups": groups})
    models = [
        [
            report.model_copy(update={"submodules": [f"submod_{n}"]})
            for report, n in zip(explained().models[0], (2, 4), strict=False)
        ]
    ]
    for one, other in (("submod_4", "submod_2"), ("submod_2", "submod_4")):
        stored = explained(models=models, compared_graphs=[pair(one=one, other=other)])
        [apart] = only(graph, explanation=stored).apart
        assert apart.graphs is not None
        assert apart.letter == {"submod_2": "A", "submod_4": "B"}[one]


def test_ranks_that_compiled_the_same_are_shown_once() -> None:
    assert [each.title for each in maps(graphs(0), graphs(1))] == ["backbone"]
    other = graphs(1).model_copy(update={"groups": graphs().groups[:2]})
    assert [each.title for each in maps(graphs(0), other)] == ["backbone, rank 0", "backbone, rank 1"]


def test_compile_ranges_are_named() -> None:
    large = graphs().model_copy(update={"compile_range": (65, 1024)})
    assert [each.title for each in maps(graphs(), large)] == ["backbone, 1 to 64 tokens", "backbone, 65 to 1024 tokens"]


def test_there_may_be_more_artifacts_than_letters_and_colours() -> None:
    groups = [SubgraphGroup(submodules=[f"submod_{n}"], part=n, layers=[]) for n in range(60)]
    artifacts = only(graphs().model_copy(update={"groups": groups})).artifacts
    assert len({each.letter for each in artifacts}) == 60
    assert {each.colour for each in artifacts} == set(range(8))


@pytest.mark.parametrize("record", [None, cold_record(compiler_work=None), cold_record()])
def test_a_start_without_recorded_graphs_has_no_map(record: object) -> None:
    assert maps_of(record, None) == []  # type: ignore[arg-type]


def test_layers_that_share_nothing_in_a_real_run() -> None:
    [deepseek] = [r for r in judge_stored(UNSHARED, Catalog.read()) if r.case.name == "deepseek-v3.2"]
    [found] = maps_of(deepseek.cold, deepseek.explanation)
    assert "".join(cell.artifact.letter for cell in found.cells) == "ABCDEFGHI"
    assert [each.apart_from for each in found.apart] == ["B", "B", "E", "E", "E"]
    assert all(each.finding is not None and "kernel_idx" in each.finding.what for each in found.apart)
    assert replace(found, artifacts=[]).apart == []


# Graphs side by side


def test_identical_lines_are_folded_away_but_for_those_near_a_difference() -> None:
    blocks = SideBySide.of(pair()).blocks
    assert [(len(block.rows), block.folded) for block in blocks] == [(10, True), (4, False)]
    assert SideBySide.of(pair()).differences == 2


def test_marked_parts_and_missing_lines() -> None:
    *_, changed, added = [row for block in SideBySide.of(pair()).blocks for row in block.rows]
    assert [(part.text, part.marked) for part in changed.one or []] == [("mul", True), (" = linear * 0.5", False)]
    assert [(part.text, part.marked) for part in changed.other or []] == [("mul = linear * 1.0", False)]
    assert changed.source is not None
    assert (added.one, [part.marked for part in added.other or []]) == (None, [True])


def test_graphs_without_a_difference_are_shown_whole() -> None:
    same = pair(lines=pair().lines[:12])
    assert [(len(block.rows), block.folded) for block in SideBySide.of(same).blocks] == [(12, False)]
    assert SideBySide.of(pair(lines=[])).blocks == []
