"""Adds up and subtracts intervals of time that may overlap."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[float, float]
"""Begin and end, in seconds since the epoch."""


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the time that any of `intervals` covers, in order and without overlap."""
    found: list[Interval] = []
    for begin, end in sorted(interval for interval in intervals if interval[0] < interval[1]):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def without(intervals: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """Return the time that any of `intervals` covers, and none of `others`."""
    left = merged(intervals)
    for begin, end in merged(others):
        left = [piece for a, b in left for piece in ((a, min(b, begin)), (max(a, end), b)) if piece[0] < piece[1]]
    return left


def seconds(intervals: Iterable[Interval]) -> float:
    """Return the seconds that any of `intervals` covers."""
    return sum(end - begin for begin, end in merged(intervals))
