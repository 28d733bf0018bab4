"""Compares the seconds of two sides: in total and by phase, as wall time and as CPU time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from coldwarm.comparison.rank_test import ALPHA, Difference, adjusted, can_tell, difference, starts_needed
from coldwarm.comparison.sides import Side
from coldwarm.core.record import StartKind, StartRecord

SHORTEST_PHASE = 0.5
"""Phases whose median is shorter, in seconds, on both sides are not compared: each further one makes the test of the
others weaker."""

_PHASE = ": "


class Answer(StrEnum):
    """What the seconds of two sides tell."""

    SLOWER = "slower"
    FASTER = "faster"
    NO_DIFFERENCE = "no difference"
    """None was found that is significant and large enough; see `Difference.low` and `Difference.high`."""
    TOO_FEW = "not enough starts to tell"
    OTHER_CONDITIONS = "other conditions"
    """Seconds cannot be compared, because the two sides were measured on different machines or in different ways."""


@dataclass(frozen=True)
class SecondsChange:
    """One quantity of seconds on two sides."""

    quantity: str
    """``cold``, ``cold CPU``, or ``cold: Dynamo`` for a phase."""
    before: Sequence[float]
    """The seconds of each start."""
    after: Sequence[float]
    answer: Answer
    difference: Difference | None
    """None: the sides were not tested."""
    p: float | None
    """The p-value, corrected for all quantities that were tested together; None: they were not tested."""

    @property
    def is_total(self) -> bool:
        """Whether it is about a whole start, not about a phase."""
        return _PHASE not in self.quantity

    @property
    def medians(self) -> tuple[float, float]:
        """The median before and after."""
        return median(self.before), median(self.after)


def compare_seconds(pairs: Mapping[str, tuple[Side, Side]]) -> dict[str, list[SecondsChange]]:
    """Return what the seconds of each pair of sides tell, by the name of the run; wall time first, phases last.

    Totals of all pairs are one family of tests, their phases another: `ALPHA` is the probability of a false alarm in
    each.

    Raises:
        UsageError: There are enough starts, and scipy is not installed.
    """
    changes: dict[str, list[SecondsChange]] = {name: [] for name in pairs}
    for select in (_totals, _phases):
        family = [
            (name, quantity, *values)
            for name, (before, after) in pairs.items()
            if not differing_conditions(before, after)
            for quantity, values in _common(select(before), select(after))
        ]
        for (name, *_), change in zip(family, _tested(family), strict=True):
            changes[name].append(change)
    for name, (before, after) in pairs.items():
        if differing_conditions(before, after):
            changes[name] = [
                SecondsChange(quantity, *values, Answer.OTHER_CONDITIONS, None, None)
                for quantity, values in _common(_totals(before), _totals(after))
            ]
    return changes


def needed(changes: Mapping[str, Sequence[SecondsChange]]) -> int:
    """Return how many starts each side needs at least, so that the totals can be compared."""
    return starts_needed(max(1, sum(each.is_total for of_run in changes.values() for each in of_run)))


def differing_conditions(before: Side, after: Side) -> list[str]:
    """Return the conditions that differ, so that seconds cannot be compared, each as ``NAME: BEFORE, now AFTER``."""
    if not before.finished() or not after.finished():
        return []
    old, new = before.conditions(), after.conditions()
    pairs = {name: (old.get(name, "unknown"), new.get(name, "unknown")) for name in [*old, *new]}
    return [f"{name}: {was}, now {now}" for name, (was, now) in pairs.items() if was != now]


def seconds_of(records: Sequence[StartRecord]) -> dict[str, list[float]]:
    """Return the wall time, the CPU time and the seconds of each phase of starts of one kind, by quantity.

    A phase that a start does not have counts as 0. CPU time is left out if a start has none recorded.
    """
    if not records:
        return {}
    kind = records[0].kind
    series = {str(kind): [record.seconds for record in records]}
    cpu = [record.cpu_seconds for record in records if record.cpu_seconds is not None]
    if len(cpu) == len(records):
        series[f"{kind} CPU"] = cpu
    phases = [{phase.name: phase.seconds for phase in record.phases} for record in records]
    for name in dict.fromkeys(name for each in phases for name in each):
        series[f"{kind}{_PHASE}{name}"] = [each.get(name, 0.0) for each in phases]
    return series


def _of_side(side: Side) -> dict[str, list[float]]:
    return {name: values for kind in StartKind for name, values in seconds_of(side.starts(kind)).items()}


def _totals(side: Side) -> dict[str, list[float]]:
    return {name: values for name, values in _of_side(side).items() if _PHASE not in name}


def _phases(side: Side) -> dict[str, list[float]]:
    return {name: values for name, values in _of_side(side).items() if _PHASE in name}


def _common(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]
) -> Iterator[tuple[str, tuple[Sequence[float], Sequence[float]]]]:
    """Yield the quantities that both sides have, with their values; of phases also those that only one side has."""
    for name in dict.fromkeys([*before, *after]):
        if _PHASE not in name:
            if name in before and name in after:
                yield name, (before[name], after[name])
            continue
        old, new = (side.get(name) or _zeros(side, name) for side in (before, after))
        if old and new and max(median(old), median(new)) >= SHORTEST_PHASE:
            yield name, (old, new)


def _zeros(side: Mapping[str, Sequence[float]], name: str) -> list[float]:
    """Return a zero for each start of the same kind: none of them has this phase."""
    same = (values for other, values in side.items() if other.split(_PHASE)[0] == name.split(_PHASE)[0])
    return [0.0] * len(next(same, []))


def _tested(family: Sequence[tuple[str, str, Sequence[float], Sequence[float]]]) -> list[SecondsChange]:
    """Test all quantities of a family together."""
    tests = len(family)
    differences = [
        difference(before, after) if can_tell(len(before), len(after), tests) else None
        for _, _, before, after in family
    ]
    corrected = iter(adjusted([1.0 if each is None else each.p for each in differences]))
    changes = []
    for (_, quantity, before, after), each in zip(family, differences, strict=True):
        p = next(corrected)
        if each is None:
            changes.append(SecondsChange(quantity, before, after, Answer.TOO_FEW, None, None))
            continue
        answer = Answer.NO_DIFFERENCE
        if p <= ALPHA and each.is_large:
            answer = Answer.SLOWER if each.ratio > 1 else Answer.FASTER
        changes.append(SecondsChange(quantity, before, after, answer, each, p))
    return changes
