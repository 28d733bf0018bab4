"""Lays out the subgraph map: the subgraphs of each compiled model in order, with the artifact that each uses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.compared_graphs import ComparedGraphs
from coldwarm.diagnose.explanation import Explanation
from coldwarm.diagnose.sharing import ClassReport
from coldwarm.report.html.graphs import SideBySide

_LAYER = re.compile(r"_(\d+)$")
_COLOURS = 8
"""Colours of parts of a model in the style sheet; more parts use them again."""


@dataclass(frozen=True)
class Artifact:
    """An artifact, with the subgraphs that share it."""

    letter: str
    """``A`` to ``Z``, then ``A1``, ...: a mark that does not depend on colours."""
    part: str
    """The name of the part of the model; empty: not recorded."""
    colour: int
    """The number of the colour of this part of the model."""
    shade: int
    """0 for the artifact that most subgraphs of this part share, then 1, 2, ..."""
    subgraphs: int
    seconds: float | None
    """The compile time of the first subgraph; None: not recorded."""
    apart_from: str | None
    """The letter of the artifact that it should be the same as; None: there is none."""
    graphs: SideBySide | None
    """Its graph beside that of `apart_from`; None: not recorded, or there is nothing to compare."""
    finding: Finding | None
    """The finding that explains why it is apart; None: there is none."""


@dataclass(frozen=True)
class Cell:
    """A subgraph."""

    submodule: str
    number: str
    artifact: Artifact
    layers: str
    """The numbers of the layers whose parameters it takes, such as ``3-4``; empty: none, or not recorded."""

    @property
    def words(self) -> str:
        """The cell in words."""
        layers = f", layers {self.layers}" if "-" in self.layers else f", layer {self.layers}" if self.layers else ""
        part = f", {self.artifact.part}" if self.artifact.part else ""
        apart = self.artifact.apart_from
        return f"{self.submodule}: artifact {self.artifact.letter}{part}{layers}" + (
            "" if apart is None else f", not shared with {apart}"
        )


@dataclass(frozen=True)
class ModelMap:
    """The subgraphs of one compiled model, for one range of token counts, in one rank."""

    title: str
    cells: list[Cell]
    artifacts: list[Artifact]

    @property
    def apart(self) -> list[Artifact]:
        """The artifacts that exist because something is not shared."""
        return [artifact for artifact in self.artifacts if artifact.apart_from is not None]


def maps_of(cold: StartRecord | None, explanation: Explanation | None) -> list[ModelMap]:
    """Return the maps of all compiled models of a cold start; ranks that compiled the same as rank 0 are left out."""
    graphs = cold.compiler_work.graphs if cold is not None and cold.compiler_work is not None else []
    first_rank = min((graph.rank for graph in graphs), default=0)
    of_first = {(graph.model, graph.compile_range): graph.groups for graph in graphs if graph.rank == first_rank}
    shown = [
        graph
        for graph in graphs
        if graph.rank == first_rank or of_first.get((graph.model, graph.compile_range)) != graph.groups
    ]
    several_ranges = len({graph.compile_range for graph in graphs}) > 1
    several_ranks = len({graph.rank for graph in shown}) > 1
    explained = _Explained(explanation)
    found = []
    for graph in shown:
        title = graph.name or f"model {graph.model + 1}"
        if several_ranges:
            title += f", {graph.compile_range[0]} to {graph.compile_range[1]} tokens"
        if several_ranks:
            title += f", rank {graph.rank}"
        found.append(_map(title, graph, explained))
    return found


class _Explained:
    """What an explanation says about the groups of subgraphs of each model."""

    def __init__(self, explanation: Explanation | None) -> None:
        self._models = explanation.models if explanation is not None else []
        self._graphs = (explanation.compared_graphs if explanation is not None else None) or []
        findings = explanation.findings if explanation is not None else []
        self._findings = [each for each in findings if each.kind is FindingKind.NOT_SHARED]

    def number(self, graph: CompiledGraph) -> int | None:
        """Return which model of the explanation `graph` is; None: it has none, as graphs of other ranks."""
        groups = [group.submodules for group in graph.groups]
        found = [n for n, model in enumerate(self._models) if [one.submodules for one in model] == groups]
        return found[0] if len(found) == 1 else graph.model if graph.model in found else None

    def reports(self, number: int | None) -> dict[str, ClassReport]:
        """Return the groups of a model, by their first subgraph."""
        models = [] if number is None else self._models[number]
        return {one.submodules[0]: one for one in models if one.submodules}

    def graphs(self, number: int | None, group: SubgraphGroup) -> ComparedGraphs | None:
        """Return the stored comparison of a group that is not shared."""
        return next((e for e in self._graphs if e.model == number and e.one in group.submodules[:1]), None)

    def is_common(self, number: int | None, group: SubgraphGroup) -> bool:
        """Return whether other groups were compared with this one."""
        return any(each.model == number and each.other in group.submodules[:1] for each in self._graphs)

    def finding(self, number: int | None, part: str) -> Finding | None:
        """Return the finding on a part of a model."""
        return next(
            (
                each
                for each in self._findings
                if part and f"({part})" in each.what and (each.model is None or each.model == number)
            ),
            None,
        )


def _map(title: str, graph: CompiledGraph, explained: _Explained) -> ModelMap:
    number = explained.number(graph)
    reports = explained.reports(number)
    letters = {id(group): _letter(place) for place, group in enumerate(graph.groups)}
    parts: dict[int, list[SubgraphGroup]] = {}
    for group in graph.groups:
        parts.setdefault(group.part, []).append(group)
    artifacts, cells = [], []
    for group in graph.groups:
        same_part = parts[group.part]
        common = max(same_part, key=lambda each: (explained.is_common(number, each), len(each.submodules)))
        report = reports.get(group.submodules[0]) if group.submodules else None
        is_apart = group is not common
        graphs = explained.graphs(number, group) if is_apart else None
        name = report.name if report is not None else ""
        artifact = Artifact(
            letter=letters[id(group)],
            part=name,
            colour=list(parts).index(group.part) % _COLOURS,
            shade=[common, *(each for each in same_part if each is not common)].index(group),
            subgraphs=len(group.submodules),
            seconds=report.seconds if report is not None else None,
            apart_from=letters[id(common)] if is_apart else None,
            graphs=SideBySide.of(graphs) if graphs is not None else None,
            finding=explained.finding(number, name) if is_apart else None,
        )
        artifacts.append(artifact)
        cells += [
            Cell(submodule, submodule.rpartition("_")[2], artifact, _layers(layers))
            for submodule, layers in zip(group.submodules, chain(group.layers, repeat([])), strict=False)
        ]
    cells.sort(key=lambda cell: (int(cell.number) if cell.number.isdecimal() else 0, cell.submodule))
    return ModelMap(title, cells, artifacts)


def _layers(paths: Sequence[str]) -> str:
    numbers = [int(found[1]) for path in paths if (found := _LAYER.search(path))]
    if not numbers:
        return ""
    first, last = min(numbers), max(numbers)
    return f"{first}" if first == last else f"{first}-{last}"


def _letter(place: int) -> str:
    letter, rest = chr(ord("A") + place % 26), place // 26
    return f"{letter}{rest}" if rest else letter
