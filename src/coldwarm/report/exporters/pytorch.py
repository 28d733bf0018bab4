"""Exports a suite's results in the format of PyTorch's benchmark database, as ``vllm bench startup`` writes it.

Format: https://github.com/pytorch/pytorch/wiki/How-to-integrate-with-PyTorch-OSS-benchmark-database. Wall time has the
same metric names as that of ``vllm bench startup``: ``avg_cold_startup_time``, with all values and their percentiles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from coldwarm import __version__
from coldwarm.core.options import flatten
from coldwarm.core.record import StartKind
from coldwarm.core.secrets import Secrets
from coldwarm.report.exporters._starts import ExportedStart, exported_starts
from coldwarm.report.summary import RunSummary, SuiteSummary

_PERCENTILES = (10, 25, 50, 75, 90, 99)
"""Those of ``vllm bench startup``."""


def render(summary: SuiteSummary) -> str:
    """Return a JSON list with a record for each metric of each run that has a finished start."""
    starts = [start for start in exported_starts(summary) if start.finished]
    records = [
        _record(run, [start for start in starts if start.run is run], name, values, more)
        for run in summary.runs
        for name, values, more in _metrics([start for start in starts if start.run is run])
    ]
    return json.dumps(records, indent=2, allow_nan=False) + "\n"


def _metrics(starts: Sequence[ExportedStart]) -> Iterator[tuple[str, list[float], dict[str, Any]]]:
    """Yield the name, the values and further data of each metric of a run."""
    for kind in StartKind:
        same = [start for start in starts if start.record.kind is kind]
        if not same:
            continue
        seconds = [start.record.seconds for start in same]
        key = f"{kind}_startup"
        percentiles = {str(each): _percentile(seconds, each) for each in _PERCENTILES}
        yield f"avg_{key}_time", [fmean(seconds)], {f"{key}_times": seconds, f"{key}_percentiles": percentiles}
        cpu = [start.record.cpu_seconds for start in same if start.record.cpu_seconds is not None]
        if cpu:
            yield f"avg_{kind}_cpu_time", [fmean(cpu)], {f"{kind}_cpu_times": cpu}
        for phase in dict.fromkeys(name for start in same for name in start.phases):
            times = [start.phases.get(phase, 0.0) for start in same]
            yield f"avg_{kind}_phase_time: {phase}", [fmean(times)], {"times": times}
        counts = [next(iter(start.counts.values()), {}) for start in same]
        for name in dict.fromkeys(name for each in counts for name in each):
            yield f"{kind}_{name}", [float(each[name]) for each in counts if name in each], {}


def _record(
    run: RunSummary, starts: Sequence[ExportedStart], name: str, values: list[float], more: dict[str, Any]
) -> dict[str, Any]:
    result = run.result
    case, newest = result.case, starts[-1]
    return {
        "benchmark": {
            "name": "coldwarm",
            "extra_info": {
                "args": {
                    "model": case.model_id,
                    "device": run.device,
                    "depth": str(case.depth),
                    "isolation": str(newest.record.isolation),
                    "compilation": run.compilation,
                    "repeat": case.repeat,
                    **flatten(Secrets(newest.record.options).options(newest.record.options)),
                },
                "use_compile": newest.record.facts is None or newest.record.facts.torch_compile is None,
                "coldwarm_version": __version__,
                "versions": dict(newest.versions),
                "hardware": dict(newest.record.facts.hardware) if newest.record.facts is not None else {},
                "verdict": str(run.status),
            },
        },
        "model": {"name": case.model_id},
        "metric": {"name": name, "benchmark_values": values, "extra_info": more},
    }


def _percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly, as numpy does by default."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
