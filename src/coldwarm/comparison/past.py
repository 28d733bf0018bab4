"""Reads the sides of a comparison from the history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coldwarm.catalog.catalog import Catalog
from coldwarm.comparison.sides import Side
from coldwarm.core.errors import UsageError, nearest
from coldwarm.core.record import StartKind
from coldwarm.core.user_paths import expanded
from coldwarm.store.history.content import RunContent
from coldwarm.store.history.history import History
from coldwarm.store.history.points import Filter, Point
from coldwarm.store.suite_folder import StoredRun
from coldwarm.suite.stored import judge_run

MOST_RUNS = 20
"""The newest runs of each model that a side has at most."""
NAMES = ("commit", "depth", "device", "machine", "model", "torch", "version")
"""What runs can be chosen by."""
_ID = re.compile(r"[0-9a-f]{4,32}")


def points_of(history: History, which: str) -> list[Point]:
    """Return the runs that `which` names, the oldest first.

    Args:
        history: The history.
        which: The id of a run or its first characters, or conditions such as ``version=0.33,model=glm-4.5``.

    Raises:
        UsageError: `which` is neither, or names no run.
    """
    if "=" not in which:
        if not _ID.fullmatch(which):
            raise UsageError(
                f"{which} is not a folder, and not the id of a run in {history.location}; give one of them, or "
                f"conditions such as version=0.33 ({', '.join(NAMES)})"
            )
        return [history.point(which)]
    chosen: dict[str, Any] = {}
    for condition in which.split(","):
        name, equals, value = condition.partition("=")
        if name not in NAMES:
            raise UsageError(f"{which}: no condition {name!r}{nearest(name, NAMES)} (one of: {', '.join(NAMES)})")
        if not equals or not value:
            raise UsageError(f"{which}: the value of {name!r} is missing")
        chosen[name] = value
    points = history.points(which=Filter(source="run", **chosen))
    if not points:
        raise UsageError(f"no run in {history.location} has {which}")
    return points


def sides_of_points(
    history: History, points: Sequence[Point], catalog: Catalog, like: Sequence[Point] = ()
) -> dict[str, Side]:
    """Return `points` by the name of the run, of each the newest `MOST_RUNS` with the same settings.

    Args:
        history: The history that has them.
        points: The runs, the oldest first.
        catalog: The catalog that judges them.
        like: The runs of the other side, whose settings and machine are preferred.

    Raises:
        UsageError: A run cannot be read.
    """
    preferred = {point.name: _made(point) for point in like}
    sides = {}
    for name in dict.fromkeys(point.name for point in points):
        of_name = [point for point in points if point.name == name]
        made = preferred.get(name)
        same = [point for point in of_name if _made(point) == made] or [
            point for point in of_name if _made(point) == _made(of_name[-1])
        ]
        sides[name] = _side(history, same[-MOST_RUNS:], catalog)
    return sides


def _made(point: Point) -> tuple[str, str, str]:
    return point.settings, point.machine, point.isolation


def _side(history: History, points: Sequence[Point], catalog: Catalog) -> Side:
    contents = history.contents([point.id for point in points])
    results = [judge_run(_stored(content, point.id), catalog) for point, content in zip(points, contents, strict=True)]
    return Side(results, {StartKind(kind): keys for kind, keys in contents[-1].keys.items() if keys.factors})


def _stored(content: RunContent, run: str) -> StoredRun:
    if content.case is None:
        raise UsageError(f"run {run} was observed by 'coldwarm watch'; only cold and warm starts can be compared")
    return StoredRun(
        folder=Path(run),
        case=content.case,
        cold=content.cold,
        warm=content.warm,
        explanation=content.explanation,
        repetitions=[_stored(each, run) for each in content.repetitions],
    )


def is_in_history(word: str, *, has_store: bool) -> bool:
    """Return whether `word` names runs of the history: it is no path, and looks like an id or like conditions.

    Raises:
        UsageError: It is in the home folder of a user who does not exist.
    """
    return not expanded(word).exists() and ("=" in word or has_store or _ID.fullmatch(word) is not None)
