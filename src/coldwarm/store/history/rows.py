"""Turns points into rows of the tables, and rows into points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson

from coldwarm.store.history.points import Counts, Point, ShortFinding, StartPoint

_FINDING = ("kind", "start", "what", "seconds", "kernel")


def row_of(point: Point) -> dict[str, Any]:
    """Return the row of a run."""
    return {
        "id": point.id,
        "began": point.when,
        "stored": datetime.now(UTC),
        "engine_version": point.versions.get(point.engine),
        "torch_version": point.versions.get("torch"),
        "triton_version": point.versions.get("triton"),
        "coldwarm_version": point.versions.get("coldwarm"),
        "commit_id": point.commit,
        "findings": [[getattr(each, name) for name in _FINDING] for each in _clean(point.findings)],
        **{name: _clean(getattr(point, name)) for name in _SAME},
    }


def start_rows_of(point: Point) -> list[dict[str, Any]]:
    """Return the rows of the starts of a run."""
    rows = []
    for start in point.starts:
        counts = asdict(start.counts)
        fields = {name: getattr(start, name) for name in _OF_START}
        phases = [[_clean(name), seconds] for name, seconds in start.phases.items()]
        rows.append({"run": point.id, **fields, "phases": phases, "unique_subgraphs": counts.pop("unique"), **counts})
    return rows


POINT_COLUMNS = (
    *("id", "began", "source", "model", "name", "command", "engine", "device", "compilation", "depth", "isolation"),
    *("aot_artifact", "versions", "options", "environment", "warm_changes", "settings", "commit_id", "commit_of"),
    *("has_local_changes", "machine", "hardware", "verdict", "reasons", "known_issues", "findings"),
)
"""The columns of the runs, in the order of the fields of `Point`, which ends with the starts."""
_PARSED = [
    POINT_COLUMNS.index(name)
    for name in ("versions", "options", "environment", "warm_changes", "hardware", "reasons", "known_issues")
]
"""The positions of JSON among them, other than the findings."""

START_COLUMNS = (
    *("run", "kind", "number", "outcome", "began", "seconds", "cpu_seconds", "parallel_starts", "phases", "ranks"),
    *("subgraphs", "unique_subgraphs", "saved", "loaded", "misses", "code_generations"),
    *("kernels_compiled", "kernels_loaded", "kernels_after_ready", "peak_memory_bytes", "peak_device_memory_bytes"),
)
"""The columns of the starts: the run, then the fields of `StartPoint` in order, with those of `Counts` among them."""

_COUNTS = slice(START_COLUMNS.index("subgraphs"), START_COLUMNS.index("peak_memory_bytes"))
"""The positions of the fields of `Counts` among them."""


class PointReader:
    """Makes points of rows, in which JSON is text.

    Most runs have the same versions, hardware, reasons and findings as others; each text is parsed once.
    """

    def __init__(self) -> None:
        self._parsed: dict[str, Any] = {}
        self._findings: dict[str, tuple[ShortFinding, ...]] = {}

    def point(self, row: Sequence[Any], starts: Sequence[StartPoint]) -> Point:
        """Return the point of a row of `POINT_COLUMNS`, and of the points of its starts."""
        fields = list(row)
        for position in _PARSED:
            fields[position] = self._parse(fields[position])
        fields[-1] = self._parse_findings(fields[-1])
        fields.append(tuple(starts))
        return Point(*fields)

    def start(self, row: Sequence[Any]) -> StartPoint:
        """Return the point of a row of `START_COLUMNS`."""
        _, *plain, phases, ranks = row[: _COUNTS.start]
        fields = [*plain, dict(orjson.loads(phases)), ranks, Counts(*row[_COUNTS]), *row[_COUNTS.stop :]]
        return StartPoint(*fields)

    def _parse(self, text: str) -> Any:
        """Return the content of `text`, an array as a tuple."""
        if (content := self._parsed.get(text)) is None:
            content = orjson.loads(text)
            content = tuple(content) if isinstance(content, list) else content
            self._parsed[text] = content
        return content

    def _parse_findings(self, text: str) -> tuple[ShortFinding, ...]:
        if (findings := self._findings.get(text)) is None:
            findings = self._findings[text] = tuple(ShortFinding(*each) for each in orjson.loads(text))
        return findings


_SAME = (
    *("source", "model", "name", "command", "engine", "device", "compilation", "depth", "isolation", "aot_artifact"),
    *("versions", "options", "environment", "warm_changes", "settings", "commit_of", "has_local_changes", "machine"),
    *("hardware", "verdict", "reasons", "known_issues"),
)
"""The fields of a point that its row has under the same name."""
_OF_START = (
    *("kind", "number", "outcome", "began", "seconds", "cpu_seconds", "parallel_starts", "ranks"),
    *("peak_memory_bytes", "peak_device_memory_bytes"),
)


def _clean(value: Any) -> Any:
    """Return `value` with what no database stores replaced: NUL, and text that is not UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        case ShortFinding():
            return ShortFinding(*(_clean(getattr(value, name)) for name in _FINDING))
        case list() | tuple():
            return [_clean(item) for item in value]
        case Mapping():
            return {_clean(key): _clean(item) for key, item in value.items()}
    return value
