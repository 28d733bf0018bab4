"""Shows what changed in the history of a model: since when, by how much, and with which versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from coldwarm.comparison.steps import SHORTEST_SERIES
from coldwarm.comparison.trend import CountStep, TimeStep, Trend
from coldwarm.report.history_view import ID_DIGITS
from coldwarm.store.history.points import Point

_COMMIT_DIGITS = 10


def print_trend(console: Console, model: str, trend: Trend) -> None:
    """Print the runs that were examined, and a paragraph for each change."""
    runs = trend.runs
    if not runs:
        console.print(f"{model}: no finished run", soft_wrap=True)
        return
    line = f"{model}: {_number(len(runs), 'run')} from {_time(runs[0])} to {_time(runs[-1])}"
    if trend.others:
        line += f" ({_number(trend.others, 'other')} unfinished, with other settings or on another machine)"
    console.print(Text(line), soft_wrap=True)
    for count in trend.counts:
        console.print(Text.assemble((f"{count.quantity}: ", "bold"), f"{count.before} -> {count.after}"))
        console.print(Text(f"  {_since(count)}"), soft_wrap=True)
    for each in trend.times:
        step = each.step
        style = "bold red" if step.is_slower else "green"
        change = f"{100 * (step.ratio - 1):+.0f} %" if step.before else "new"
        console.print(
            Text.assemble(
                (f"{each.quantity}: ", "bold"),
                f"{step.before:.2f} s -> {step.after:.2f} s (",
                (f"{change}, {'slower' if step.is_slower else 'faster'}", style),
                ")",
            )
        )
        console.print(Text(f"  {_since(each)}"), soft_wrap=True)
    if not trend.can_tell:
        console.print(f"seconds: not enough runs to tell ({len(runs)}; at least {SHORTEST_SERIES} are needed)")
    elif not trend.times:
        console.print("seconds: no step")


def trend_as_json(model: str, trend: Trend) -> str:
    """Return the changes as one JSON object."""
    content = {
        "model": model,
        "runs": [point.id for point in trend.runs],
        "others": trend.others,
        "can_tell": trend.can_tell,
        "seconds": [
            {
                "quantity": each.quantity,
                "before": each.step.before,
                "after": each.step.after,
                "ratio": each.step.ratio if each.step.before else None,
                "p": each.step.p,
                **_place(each),
            }
            for each in trend.times
        ],
        "counts": [
            {"quantity": each.quantity, "before": each.before, "after": each.after, **_place(each)}
            for each in trend.counts
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def _place(change: TimeStep | CountStep) -> dict[str, Any]:
    return {
        "since": change.first.when.isoformat(),
        "first_run": change.first.id,
        "last_run_before": change.last.id,
        "changed": {name: {"before": old, "after": new} for name, (old, new) in _changed(change).items()},
    }


def _since(change: TimeStep | CountStep) -> str:
    changed = _changed(change)
    what = [f"{name} {old or 'none'} to {new or 'none'}" for name, (old, new) in changed.items()]
    return f"since {_time(change.first)}, run {change.first.id[:ID_DIGITS]}: {', '.join(what) or 'same versions'}"


def _changed(change: TimeStep | CountStep) -> Mapping[str, tuple[str | None, str | None]]:
    """Return the versions and the commit that differ between the last run before a change and the first after it."""
    last, first = change.last, change.first
    names = dict.fromkeys([*last.versions, *first.versions])
    pairs = {name: (last.version(name), first.version(name)) for name in names}
    pairs["commit"] = _commit(last), _commit(first)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _commit(point: Point) -> str | None:
    if point.commit is None:
        return None
    return point.commit[:_COMMIT_DIGITS] + (" with changes" if point.has_local_changes else "")


def _time(point: Point) -> str:
    return f"{point.when.astimezone():%Y-%m-%d %H:%M}"


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
