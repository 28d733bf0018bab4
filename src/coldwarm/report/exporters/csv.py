"""Exports a suite's results as CSV (RFC 4180), with a row for each start."""

from __future__ import annotations

import csv
import io
from typing import Any

from coldwarm.measure.phases import in_order
from coldwarm.report.exporters._starts import COUNTS, ExportedStart, exported_starts
from coldwarm.report.summary import SuiteSummary

_PHASE = "phase: "


def render(summary: SuiteSummary) -> str:
    """Return a row for each start: what was started, its seconds, the counts of its first rank, seconds by phase.

    A cell is empty if the value is unknown, or if the start did not finish.
    """
    starts = list(exported_starts(summary))
    phases = in_order(phase for start in starts for phase in start.phases)
    rows = [_row(start) for start in starts]
    columns = dict.fromkeys([*_row_names(), *(f"{_PHASE}{phase}" for phase in phases)])
    file = io.StringIO()
    writer = csv.DictWriter(file, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _row_names() -> list[str]:
    return [
        *("run", "model", "engine", "engine_version", "torch_version", "device", "compilation", "depth", "isolation"),
        *("repetition", "start", "began", "outcome", "verdict", "parallel_starts", "seconds", "cpu_seconds"),
        *("peak_memory_bytes", "peak_device_memory_bytes"),
        *COUNTS,
    ]


def _row(start: ExportedStart) -> dict[str, Any]:
    record = start.record
    values = {
        "run": start.run.name,
        "model": start.run.result.case.model_id,
        "engine": record.engine,
        "engine_version": start.versions.get(record.engine),
        "torch_version": start.versions.get("torch"),
        "device": record.device,
        "compilation": record.compilation,
        "depth": record.depth,
        "isolation": record.isolation,
        "repetition": start.repetition,
        "start": record.kind,
        "began": record.began.isoformat(),
        "outcome": record.outcome,
        "verdict": start.verdict,
        "parallel_starts": record.side_by_side,
        "seconds": record.seconds,
        "cpu_seconds": record.cpu_seconds,
        "peak_memory_bytes": record.peak_memory_bytes,
        "peak_device_memory_bytes": record.facts.peak_device_memory_bytes if record.facts is not None else None,
    }
    values |= next(iter(start.counts.values()), {})
    values |= {f"{_PHASE}{name}": seconds for name, seconds in start.phases.items()}
    return {name: "" if value is None else value for name, value in values.items()}
