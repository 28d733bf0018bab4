"""Limits how many artifacts a model may have: one for each part of it and each configuration of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup
from coldwarm.core.record import EngineFacts

# The configurations of the layers whose parameters a subgraph takes.
_Configuration = tuple[int | None, ...]


def allowed_artifacts(graphs: Sequence[CompiledGraph], configurations: Mapping[str, int]) -> int | None:
    """Return how many artifacts the `graphs` of a cold start may have.

    Subgraphs of the same part of the model must share an artifact if their layers have the same configuration. If
    subgraphs of different configurations share an artifact, these configurations count as one.

    Args:
        graphs: The compiled graphs; of several ranks, only the first counts.
        configurations: The number of each layer's configuration, by path.

    Returns:
        None if it is unknown: nothing was recorded; no layers were found and some part of the model has several
        artifacts; or the model runs its layers several times in one forward pass, so the same layers have several
        subgraphs.
    """
    if not graphs or any(reruns_layers(graph) for graph in graphs):
        return None
    if not configurations and any(_has_part_with_several(graph) for graph in graphs):
        return None
    first = min(graph.rank for graph in graphs)
    return sum(_allowed(graph, configurations) for graph in graphs if graph.rank == first)


@dataclass(frozen=True)
class ModelArtifacts:
    """The artifacts of one compiled model in a cold start with several."""

    name: str
    is_main: bool
    artifacts: int
    """How many artifacts it has: one for each group of subgraphs that share one, in each compile range."""
    ranges: int
    """For how many compile ranges (of token counts) it was compiled."""
    allowed: int | None
    """How many artifacts its layers allow (`allowed_artifacts`); None: unknown."""
    reruns_layers: bool
    """Whether it runs its layers several times in one forward pass."""


def artifacts_by_model(graphs: Sequence[CompiledGraph], facts: EngineFacts) -> list[ModelArtifacts]:
    """Return the artifacts of each compiled model, in the order of compilation; of several ranks, only
    the first counts.

    The layers of a model are those that were recorded under its name. If the trace has no names, the first model is
    taken for the main one, and the layers of the others are unknown.
    """
    first = min((graph.rank for graph in graphs), default=0)
    by_number: dict[int, list[CompiledGraph]] = {}
    for graph in graphs:
        if graph.rank == first:
            by_number.setdefault(graph.model, []).append(graph)
    configurations = {model.name: model.layer_configurations for model in facts.further_models}
    found: list[ModelArtifacts] = []
    for number, own in sorted(by_number.items()):
        name = own[0].name
        is_of_main = not found if name is None or facts.main_model is None else name == facts.main_model
        layers = facts.layer_configurations if is_of_main else configurations.get(name or "", {})
        found.append(
            ModelArtifacts(
                name=name or f"model {number + 1}",
                # If several have the main model's name, such as the encoder and decoder of one model, the first is it.
                is_main=is_of_main and not any(model.is_main for model in found),
                artifacts=sum(len(graph.groups) for graph in own),
                ranges=len(own),
                allowed=allowed_artifacts(own, layers),
                reruns_layers=any(reruns_layers(graph) for graph in own),
            )
        )
    return found


def _has_part_with_several(graph: CompiledGraph) -> bool:
    return len({group.part for group in graph.groups}) < len(graph.groups)


def reruns_layers(graph: CompiledGraph) -> bool:
    """Return whether several subgraphs of one part of the model take the parameters of the same layers."""
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
    """Return how many groups remain after those with a common configuration are merged."""
    merged: list[set[_Configuration]] = []
    for group in groups:
        own: set[_Configuration] = {tuple(configurations.get(path) for path in layers) for layers in group.layers}
        common = [each for each in merged if each & own]
        merged = [each for each in merged if not each & own] + [own.union(*common)]
    return len(merged)
