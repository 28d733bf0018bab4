"""Shows the history: its models, and the runs of one model, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from coldwarm.store.history.points import Added, ModelRuns, Point, StartPoint

ID_DIGITS = 8
"""How many digits of an id are shown."""
_COMMIT_DIGITS = 10
_WIDE = 140

_STYLES = {
    **dict.fromkeys(("passed", "warm"), "green"),
    **dict.fromkeys(("known issue", "partly warm"), "yellow"),
    **dict.fromkeys(("failed", "unexpectedly fixed", "error", "cold"), "bold red"),
}

_PLACE: dict[str, Callable[[Point], str]] = {
    "version": lambda point: point.version(point.engine) or "",
    "torch": lambda point: point.version("torch") or "",
    "commit": lambda point: _commit(point),
    "device": lambda point: point.device,
    "machine": lambda point: point.machine,
    "depth": lambda point: point.depth,
    "compilation": lambda point: point.compilation,
    "artifacts": lambda point: point.aot_artifact or "",
    "settings": lambda point: ", ".join(
        [*(f"{name}={value}" for name, value in {**point.options, **point.environment}.items()), *point.warm_changes]
    ),
}
"""Where and how a run was made; what all runs have in common is not shown as a column."""


def print_points(console: Console, points: Sequence[Point], *, has_older: bool) -> None:
    """Print a line for each of `points`, the newest last.

    Args:
        console: Where to print.
        points: Runs of one model or command.
        has_older: Whether the history has older ones that are not among them.
    """
    places = {name: [value(point) for point in points] for name, value in _PLACE.items()}
    common = {name: values[0] for name, values in places.items() if len(set(values)) == 1}
    shown = ", ".join(f"{name} {value}" for name, value in common.items() if value)
    console.print(f"{points[0].model}: {shown}", soft_wrap=True)
    counts = ("cold saved/loaded", "warm saved/loaded")
    if console.width < _WIDE:
        counts = ("cold\nsaved/\nloaded", "warm\nsaved/\nloaded")
    table = _table(
        "when", *(name for name in places if name not in common), *counts, "cold s", "warm s", "verdict", "id"
    )
    for number, point in enumerate(points):
        cold, warm = point.cold, point.warm
        if point.source == "watch":
            # It is a warm start if the caches are any good.
            warm = point.starts[0]
        table.add_row(
            _time(point.when),
            *(values[number] for name, values in places.items() if name not in common),
            *(_artifacts(start) for start in (cold, warm)),
            *(f"{start.seconds:.1f}" if start is not None else "" for start in (cold, warm)),
            Text(point.verdict, style=_STYLES.get(point.verdict, "")),
            point.id[:ID_DIGITS],
        )
    console.print(table)
    if has_older:
        console.print(f"the newest {len(points)} runs; --limit N shows more", soft_wrap=True)


def print_models(console: Console, models: Sequence[ModelRuns]) -> None:
    """Print a line for each of `models`."""
    table = _table("model", "runs", "first", "last", "last verdict")
    for each in models:
        verdict = Text(each.last_verdict, style=_STYLES.get(each.last_verdict, ""))
        table.add_row(Text(each.model), str(each.runs), _time(each.first), _time(each.last), verdict)
    console.print(table)


def as_json(rows: Sequence[Point] | Sequence[ModelRuns]) -> str:
    """Return `rows` as a JSON array of objects with their fields."""
    return json.dumps([asdict(row) for row in rows], indent=2, default=_json) + "\n"


def added_line(folder: str, added: Added) -> str:
    """Return what was done with the runs of a folder, in one line."""
    parts = [f"{len(added.stored)} stored"]
    parts += [f"{len(added.known)} stored before"] if added.known else []
    parts += [f"{len(added.unsupported)} unsupported ({', '.join(added.unsupported)})"] if added.unsupported else []
    parts += [f"{len(added.unfinished)} not finished ({', '.join(added.unfinished)})"] if added.unfinished else []
    return f"{folder}: {', '.join(parts)}"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for heading in headings:
        justify: JustifyMethod = "right" if heading.startswith(("cold", "warm", "runs")) else "left"
        table.add_column(heading, justify=justify, vertical="bottom", no_wrap=heading in ("when", "id", "verdict"))
    return table


def _time(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M}"


def _commit(point: Point) -> str:
    if point.commit is None:
        return ""
    return point.commit[:_COMMIT_DIGITS] + (" with changes" if point.has_local_changes else "")


def _artifacts(start: StartPoint | None) -> str:
    if start is None or start.counts.saved is None:
        return ""
    return f"{start.counts.saved} / {start.counts.loaded}"


def _json(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
