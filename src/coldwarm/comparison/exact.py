"""Compares what does not vary from run to run: counts, key components, findings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from coldwarm.comparison.sides import NOT_LOADED, OF_RANK, Counts, Side
from coldwarm.core.cache_keys import CacheKeys, ChangedFactor, changed_factors
from coldwarm.core.finding import Finding
from coldwarm.core.record import StartKind

_MORE_IS_WORSE = (
    *("unique subgraphs", "saved", "AOTAutograd misses", "code generations"),
    *("kernels compiled", "kernels compiled after ready", NOT_LOADED),
)
"""The counts that stand for work of a compiler, without the start and the rank."""
# A value can be a path with spaces, or a list of paths or a command line, in which a space, a colon or the like comes
# before each path.
_OWN_FOLDER = re.compile(r"/(?:(?:[^\s/'\":;,=]|[ ](?![ /-]))+/)*coldwarm-\w{8}/[\w.+-]+(?:/|(?![\w.+-]))")
"""The folder of a case in the temporary folder of a run."""


class Direction(StrEnum):
    """What a change means."""

    WORSE = "worse"
    BETTER = "better"
    NEITHER = "neither"


@dataclass(frozen=True)
class CountChange:
    """A count that differs."""

    name: str
    before: tuple[int, ...]
    """All values that the runs have, sorted; empty: not counted."""
    after: tuple[int, ...]
    direction: Direction


@dataclass(frozen=True)
class FindingChange:
    """A finding that only one side has."""

    finding: Finding
    direction: Direction


def counts_of_both(before: Side, after: Side) -> tuple[Counts, Counts]:
    """Return the counts of both sides, by the same names: the only rank of a side is rank 0 if the other has several.

    Rank 0 also stands for a start in the history, whatever the number of its ranks.
    """
    old, new = before.counts(), after.counts()
    return _named_like(new, old), _named_like(old, new)


def have_counts_in_common(old: Counts, new: Counts) -> bool:
    """Return whether any count of a rank can be compared."""
    return any(name in new for name in old if name != NOT_LOADED)


def changed_counts(old: Counts, new: Counts) -> list[CountChange]:
    """Return the counts that differ, if both sides have any."""
    if not old or not new:  # a side that did not finish has another verdict
        return []
    return [
        CountChange(name, old.get(name, ()), new.get(name, ()), _direction(name, old, new))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def changed_keys(before: Side, after: Side) -> list[ChangedFactor] | None:
    """Return the components of the cold starts' cache keys that differ; None: they were not recorded on both sides.

    A cache that the older side filled misses because of them. `ChangedFactor.cold` is the value of the older side, and
    `ChangedFactor.warm` that of the newer one. The temporary folder of a run is not part of them.
    """
    old, new = before.keys.get(StartKind.COLD), after.keys.get(StartKind.COLD)
    return None if old is None or new is None else changed_factors(_without_own_paths(old), _without_own_paths(new))


def changed_findings(before: Side, after: Side) -> list[FindingChange]:
    """Return the findings that only one side has although the other one could have them, new ones first."""
    old, new = before.findings(), after.findings()
    added = [finding for key, finding in new.items() if key not in old and before.could_find(finding)]
    gone = [finding for key, finding in old.items() if key not in new and after.could_find(finding)]
    return [
        *(FindingChange(finding, Direction.WORSE) for finding in added),
        *(FindingChange(finding, Direction.BETTER) for finding in gone),
    ]


def _named_like(other: Counts, counts: Counts) -> Counts:
    """Return `counts`, with the names of rank 0 where only `other` has several ranks."""

    def renamed(name: str) -> str:
        of_rank = f"{name}{OF_RANK}0"
        return of_rank if of_rank in other and of_rank not in counts and name not in other else name

    return {renamed(name): values for name, values in counts.items()}


def _without_own_paths(keys: CacheKeys) -> CacheKeys:
    """Return `keys` without the temporary folder of the run, which is another one each time."""
    factors = {
        group: {name: _OWN_FOLDER.sub("", value) for name, value in values.items()}
        for group, values in keys.factors.items()
    }
    return keys.model_copy(update={"factors": factors})


def _direction(name: str, old: Counts, new: Counts) -> Direction:
    what = name.split(OF_RANK)[0]
    what = what.partition(" ")[2] if what.split(" ")[0] in set(StartKind) else what
    if what not in _MORE_IS_WORSE or name not in old or name not in new:
        return Direction.NEITHER
    if name == NOT_LOADED and old[name][-1] and new[name][-1] and _ranks(old) != _ranks(new):
        return Direction.NEITHER  # the sum of more ranks is larger
    # If runs differ, the worst of them counts.
    more = new[name][-1] - old[name][-1]
    return Direction.WORSE if more > 0 else Direction.BETTER if more < 0 else Direction.NEITHER


def _ranks(counts: Counts) -> set[str]:
    return {name.partition(OF_RANK)[2] for name in counts if OF_RANK in name}
