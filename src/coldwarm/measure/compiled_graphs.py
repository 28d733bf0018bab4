"""Groups the subgraphs that each rank compiled by the artifact that they share, with their part of the model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup
from coldwarm.graphs.graph import Value
from coldwarm.graphs.names import part_of
from coldwarm.graphs.subgraphs import CompiledModel, SubgraphCollector
from coldwarm.trace.kinds import TypedRecord
from coldwarm.trace.reader import TraceFile

# The path of a layer in the name of an input: up to the first number. Buffers are excluded, since all layers may share
# one that has the number of the first.
_LAYER = re.compile(r"l_self_(?P<path>modules_(?:(?!modules_\d)\w)*?modules_\d+)_(?!\w*_buffers_)", re.IGNORECASE)


class CompiledGraphs:
    """A trace consumer that collects the graphs of all ranks."""

    def __init__(self) -> None:
        self._ranks: dict[int, SubgraphCollector] = {}
        self._current: SubgraphCollector | None = None

    def begin(self, file: TraceFile) -> None:
        """Continue with the rank of `file`."""
        self._current = self._ranks.setdefault(file.rank, SubgraphCollector(file.rank))
        self._current.begin(file)

    def take(self, record: TypedRecord) -> None:
        """Follow `record`."""
        if self._current is not None:
            self._current.take(record)

    def graphs(self) -> list[CompiledGraph]:
        """Return all graphs; none if the code of a subgraph is missing, so that its part of the model is not known."""
        models = [
            (rank, number, model)
            for rank, collector in sorted(self._ranks.items())
            for number, model in enumerate(collector.models)
        ]
        if any(not member.inputs for *_, model in models for one in model.classes for member in one.members):
            return []
        return [graph for rank, number, model in models for graph in _graphs_of(rank, number, model)]


def _graphs_of(rank: int, number: int, model: CompiledModel) -> Iterator[CompiledGraph]:
    parts: dict[object, int] = {}
    groups: dict[tuple[int, int], list[SubgraphGroup]] = {}
    for one in model.classes:
        group = SubgraphGroup(
            submodules=[member.start.submodule for member in one.members],
            part=parts.setdefault(part_of(one), len(parts)),
            layers=[layers_of(member.inputs) for member in one.members],
        )
        groups.setdefault(one.members[0].start.compile_range, []).append(group)
    for compile_range, found in groups.items():
        yield CompiledGraph(rank=rank, model=number, name=model.name, compile_range=compile_range, groups=found)


def layers_of(inputs: Sequence[Value]) -> list[str]:
    """Return the paths of the layers whose parameters are among the `inputs` of a graph, in their order."""
    found = (_LAYER.match(value.name) for value in inputs)
    return list(dict.fromkeys(each["path"].lower() for each in found if each))
