from __future__ import annotations

import pytest

from coldwarm.checks.sharing_limit import allowed_artifacts
from coldwarm.checks.verdict import Status, Verdict, judge
from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup
from coldwarm.core.invariant_ids import InvariantId
from tests.support.records import LOADED, SAVED, cold_facts, cold_record, compiler_work, model_entry, warm_record

# Layers 0 to 7: full attention in every fourth, sliding attention in the others.
SLIDING, FULL = 0, 1
CONFIGURATIONS = {f"modules_layers_modules_{n}": FULL if n % 4 == 3 else SLIDING for n in range(8)}
FIRST, BETWEEN, LAST = range(3)


def group(part: int, *layers: tuple[int, ...]) -> SubgraphGroup:
    """Subgraphs that share an artifact; each takes the parameters of these layers."""
    paths = [[f"modules_layers_modules_{n}" for n in each] for each in layers]
    return SubgraphGroup(submodules=[f"submod_{each}" for each in layers], part=part, layers=paths)


def graph(*between: SubgraphGroup, rank: int = 0, compile_range: tuple[int, int] = (1, 64)) -> CompiledGraph:
    groups = [group(FIRST, (0,)), *between, group(LAST, (7,))]
    return CompiledGraph(rank=rank, model=0, compile_range=compile_range, groups=groups)


# Attention without a rotary embedding, before layers 3 and 7, is a different graph.
BY_CONFIGURATION = graph(
    group(BETWEEN, (0, 1), (1, 2), (3, 4), (4, 5), (5, 6)),
    group(BETWEEN, (2, 3), (6, 7)),
)
BY_INDEX = graph(*(group(BETWEEN, (n, n + 1)) for n in range(7)))
FIRST_IS_DIFFERENT = graph(group(BETWEEN, (0, 1)), group(BETWEEN, *((n, n + 1) for n in range(1, 7))))


@pytest.mark.parametrize(
    ("compiled", "configurations", "allowed"),
    [
        (BY_CONFIGURATION, CONFIGURATIONS, 4),
        (BY_CONFIGURATION, dict.fromkeys(CONFIGURATIONS, 0), 3),
        # Of nine, as many as there are pairs of configurations of neighbours, first and last.
        (BY_INDEX, CONFIGURATIONS, 5),
        (BY_INDEX, dict.fromkeys(CONFIGURATIONS, 0), 3),
        (FIRST_IS_DIFFERENT, CONFIGURATIONS, 3),
    ],
)
def test_a_part_has_one_artifact_for_each_configuration(
    compiled: CompiledGraph, configurations: dict[str, int], allowed: int
) -> None:
    assert allowed_artifacts([compiled], configurations) == allowed


def test_each_compile_range_has_its_own_artifacts_and_only_one_rank_counts() -> None:
    one_token = BY_CONFIGURATION.model_copy(update={"compile_range": (1, 1)})
    other_rank = BY_CONFIGURATION.model_copy(update={"rank": 1})
    assert allowed_artifacts([BY_CONFIGURATION, one_token, other_rank], CONFIGURATIONS) == 8


def test_layers_that_run_several_times_cannot_be_checked() -> None:
    again = graph(group(BETWEEN, (0, 1), (1, 2)), group(BETWEEN, (0, 1)))
    assert allowed_artifacts([again], CONFIGURATIONS) is None


def test_parts_with_one_artifact_each_need_no_layers() -> None:
    assert allowed_artifacts([graph(group(BETWEEN, (0, 1), (1, 2)))], {}) == 3


@pytest.mark.parametrize(("graphs", "configurations"), [([], CONFIGURATIONS), ([BY_INDEX], {})])
def test_without_graphs_or_layers_the_limit_is_unknown(
    graphs: list[CompiledGraph], configurations: dict[str, int]
) -> None:
    assert allowed_artifacts(graphs, configurations) is None


def judged(compiled: CompiledGraph, **entry: object) -> Verdict:
    saved = len(compiled.groups)
    facts = cold_facts(layer_configurations=CONFIGURATIONS, counters={SAVED: saved})
    cold = cold_record(facts=facts, compiler_work=compiler_work(graphs=[compiled]))
    return judge(model_entry(**{"layer_kinds": None, **entry}), cold, warm_record(counters={LOADED: saved}))


def test_layers_that_differ_by_configuration_pass() -> None:
    assert judged(BY_CONFIGURATION).status is Status.PASSED


@pytest.mark.parametrize(("compiled", "over"), [(BY_INDEX, 4), (FIRST_IS_DIFFERENT, 1)])
def test_layers_that_differ_by_their_index_fail(compiled: CompiledGraph, over: int) -> None:
    verdict = judged(compiled)
    assert verdict.status is Status.FAILED
    [broken] = [check for check in verdict.checks if not check.holds]
    assert (broken.id, broken.artifacts_over_limit) == (InvariantId.ONLY_UNIQUE, over)
    assert f"expected at most {len(compiled.groups) - over}: one for each part of the model" in broken.words


def test_a_model_that_runs_its_layers_several_times_does_not_fail() -> None:
    verdict = judged(graph(group(BETWEEN, (0, 1), (1, 2)), group(BETWEEN, (0, 1)), group(BETWEEN, (1, 2))))
    assert verdict.status is Status.PASSED
    assert any("limit not checked, because the model runs its layers several times" in note for note in verdict.notes)


def test_layer_kinds_in_the_catalog_determine_the_limit() -> None:
    assert judged(BY_CONFIGURATION, layer_kinds=("dense",)).status is Status.FAILED
