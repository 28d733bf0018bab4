"""Finds ranks that compile different graphs for the same part of the model, such as one with the rank baked into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import trace_name
from coldwarm.graphs.differences import Difference, differences
from coldwarm.graphs.names import names_of
from coldwarm.graphs.subgraphs import CompiledModel, SubgraphClass

_MOST_FINDINGS = 5
_OF_SHARDS = ("input", "type")
"""What differs if a weight is divided unevenly among the ranks."""


def graph_findings(models: Mapping[int, Sequence[CompiledModel]], expected: Sequence[str] = ()) -> list[Finding]:
    """Return a finding for each line of code that gives ranks different graphs in the cold start.

    Such ranks cannot share an artifact, and none can load what another has saved.

    Args:
        models: What each rank compiled, by rank, of ranks that run the same part of the model.
        expected: Patterns of source files in which ranks differ by design.
    """
    first, *others = sorted(models)
    found: dict[tuple[str, ...], _Disagreement] = {}
    for rank in others:
        for ours, theirs, name in _pairs(models[first], models[rank]):
            for difference in differences(theirs.graph, ours.graph):
                if difference.kind not in _OF_SHARDS and not _is_expected(difference, expected):
                    entry = found.setdefault(difference.site, _Disagreement(difference, name, ours))
                    entry.ranks.setdefault(rank, (theirs, difference.one))
                    entry.subgraphs.add(ours.members[0].start.submodule)
    return [each.finding(first) for each in list(found.values())[:_MOST_FINDINGS]]


@dataclass
class _Disagreement:
    """A place in the code at which the graphs of ranks differ from that of the first one."""

    difference: Difference
    name: str
    """The name of the first part of the model that has it."""
    ours: SubgraphClass
    ranks: dict[int, tuple[SubgraphClass, str | None]] = field(default_factory=dict)
    """For each rank, its graph, and what it has there."""
    subgraphs: set[str] = field(default_factory=set)

    def finding(self, first: int) -> Finding:
        """Return the finding.

        Args:
            first: The first rank.
        """
        difference, source = self.difference, self.difference.source
        values = {first: difference.other} | {rank: value for rank, (_, value) in self.ranks.items()}
        listed = ", ".join(
            f"`{value}` in rank {rank}" if value is not None else f"nothing in rank {rank}"
            for rank, value in values.items()
        )
        submodule = self.ours.members[0].start.submodule
        more = f" and {len(self.subgraphs) - 1} more" if len(self.subgraphs) > 1 else ""
        is_constant = difference.kind == "constant"
        what = "a constant that differs is baked into the graph" if is_constant else f"{difference.kind} differs"
        return Finding(
            kind=FindingKind.RANKS_DISAGREE,
            start=StartKind.COLD,
            what=f"ranks compile different graphs of {submodule}{more} ({self.name}): {what}: {listed}",
            where=None if source is None else str(source),
            code=None if source is None else source.code,
            evidence=[
                Evidence(
                    file=f"{trace_name(StartKind.COLD)}/{dump.file}",
                    record=f"line {dump.line}: {one.members[0].dump_name}",
                )
                for one in (self.ours, *(one for one, _ in self.ranks.values()))
                if (dump := one.members[0].dump) is not None
            ],
            next="pass the value to the graph as an input (a buffer or a tensor argument), so that all ranks have the "
            "same graph"
            if is_constant
            else "look for what depends on the rank",
        )


def _pairs(
    ours: Sequence[CompiledModel], theirs: Sequence[CompiledModel]
) -> Iterator[tuple[SubgraphClass, SubgraphClass, str]]:
    """Yield the graphs that two ranks compiled for the same subgraph, with its name; each pair once."""
    for mine, other in zip(ours, theirs, strict=False):
        by_submodule = {member.start.submodule: one for one in other.classes for member in one.members}
        for one, name in zip(mine.classes, names_of(mine), strict=True):
            pair = by_submodule.get(one.members[0].start.submodule)
            if pair is not None and one.code and pair.code:
                yield one, pair, name


def _is_expected(difference: Difference, patterns: Sequence[str]) -> bool:
    return difference.source is not None and any(fnmatchcase(difference.source.file, each) for each in patterns)
