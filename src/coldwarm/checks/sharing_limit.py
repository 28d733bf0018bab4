"""How many artifacts a model may have: one for each part of it and each configuration of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup

# The configurations of the layers whose parameters a subgraph takes.
_Configuration = tuple[int | None, ...]


def allowed_artifacts(graphs: Sequence[CompiledGraph], configurations: Mapping[str, int]) -> int | None:
    """Return how many artifacts the `graphs` of a cold start may have.

    Subgraphs of the same part of the model must share an artifact if their layers have the same configuration. If
    subgraphs of different configurations share one, the difference does not matter, and they count as one.

    Args:
        graphs: What was compiled; of several ranks, the first one decides.
        configurations: The number of each layer's configuration, by path.

    Returns:
        None if that cannot be known: nothing was recorded, no layers were found, or the model runs its layers several
        times in one forward pass, so that the same layers have several subgraphs.
    """
    if not graphs or not configurations or any(_runs_layers_again(graph) for graph in graphs):
        return None
    first = min(graph.rank for graph in graphs)
    return sum(_allowed(graph, configurations) for graph in graphs if graph.rank == first)


def _runs_layers_again(graph: CompiledGraph) -> bool:
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for group in graph.groups:
        for layers in group.layers:
            which = group.part, tuple(layers)
            if layers and which in seen:
                return True
            seen.add(which)
    return False


def _allowed(graph: CompiledGraph, configurations: Mapping[str, int]) -> int:
    by_part: dict[int, list[SubgraphGroup]] = {}
    for group in graph.groups:
        by_part.setdefault(group.part, []).append(group)
    return sum(_distinct(groups, configurations) for groups in by_part.values())


def _distinct(groups: Sequence[SubgraphGroup], configurations: Mapping[str, int]) -> int:
    """How many groups remain once those with a configuration in common are merged."""
    merged: list[set[_Configuration]] = []
    for group in groups:
        own: set[_Configuration] = {tuple(configurations.get(path) for path in layers) for layers in group.layers}
        common = [each for each in merged if each & own]
        merged = [each for each in merged if not each & own] + [own.union(*common)]
    return len(merged)
