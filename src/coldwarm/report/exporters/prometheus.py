"""Exports a suite's results in Prometheus' text format, for the textfile collector of node_exporter.

Specification: https://prometheus.io/docs/instrumenting/exposition_formats/. The textfile collector accepts no
timestamps, so the time at which a run began is a metric of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from coldwarm.checks.verdict import Status
from coldwarm.report.exporters._starts import COUNTS, ExportedStart, exported_starts
from coldwarm.report.summary import RunSummary, SuiteSummary

_PREFIX = "coldwarm_"
_Labels = Mapping[str, str]

_HELP = {
    "run_healthy": "1 if the run passed, showed a known issue or is unsupported here, else 0.",
    "run_status": "1 for the verdict on the run, 0 for the others.",
    "run_began_timestamp_seconds": "When the first start of the run began, in seconds since the epoch.",
    "start_seconds": "Wall time of a start; the median if it was repeated.",
    "start_cpu_seconds": "User and system time of all processes of a start; the median if it was repeated.",
    "phase_seconds": "Wall time of a phase of a start; the median if it was repeated.",
    "start_peak_memory_bytes": "Peak resident memory of all processes of a start; the largest if it was repeated.",
    **COUNTS,
}
"""The metrics, in order, with their descriptions. Each is a gauge."""


def render(summary: SuiteSummary) -> str:
    """Return a gauge for each quantity, with a sample for each run, start, phase or rank."""
    samples: dict[str, list[tuple[_Labels, float]]] = {name: [] for name in _HELP}
    by_run: dict[str, list[ExportedStart]] = {run.name: [] for run in summary.runs}
    for start in exported_starts(summary):
        by_run[start.run.name].append(start)
    for run in summary.runs:
        _add_run(samples, run, by_run[run.name])
    lines = []
    for name, values in samples.items():
        if values:
            lines += [f"# HELP {_PREFIX}{name} {_escaped_help(_HELP[name])}", f"# TYPE {_PREFIX}{name} gauge"]
            lines += [f"{_PREFIX}{name}{_labels(labels)} {_number(value)}" for labels, value in values]
    return "".join(f"{line}\n" for line in lines)


def _add_run(samples: dict[str, list[tuple[_Labels, float]]], run: RunSummary, starts: list[ExportedStart]) -> None:
    case = run.result.case
    of_run = {
        "run": run.name,
        "model": case.model_id,
        "engine": run.engine,
        "device": run.device,
        "compilation": run.compilation,
        "depth": str(case.depth),
    }
    samples["run_healthy"].append((of_run, float(run.result.ok)))
    samples["run_status"] += [({**of_run, "status": str(each)}, float(each is run.status)) for each in Status]
    if starts:
        began = min(start.record.began.timestamp() for start in starts)
        samples["run_began_timestamp_seconds"].append((of_run, began))
    finished = [start for start in starts if start.finished]
    for kind in dict.fromkeys(start.record.kind for start in finished):
        same = [start for start in finished if start.record.kind is kind]
        newest = same[-1]
        versions = {
            "engine_version": newest.versions.get(run.engine, ""),
            "torch_version": newest.versions.get("torch", ""),
        }
        labels = {**of_run, **versions, "start": str(kind)}
        samples["start_seconds"].append((labels, median(start.record.seconds for start in same)))
        if cpu := [start.record.cpu_seconds for start in same if start.record.cpu_seconds is not None]:
            samples["start_cpu_seconds"].append((labels, median(cpu)))
        if memory := [start.record.peak_memory_bytes for start in same if start.record.peak_memory_bytes]:
            samples["start_peak_memory_bytes"].append((labels, max(memory)))
        for phase in dict.fromkeys(name for start in same for name in start.phases):
            seconds = median(start.phases.get(phase, 0.0) for start in same)
            samples["phase_seconds"].append(({**labels, "phase": phase}, seconds))
        for rank, counts in newest.counts.items():
            for name, value in counts.items():
                samples[name].append(({**labels, "rank": str(rank)}, value))


def _labels(labels: _Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return _escaped_help(value).replace('"', '\\"')


def _escaped_help(text: str) -> str:
    # A carriage return ends a line for some readers, and has no escape.
    return text.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() else repr(value)


def metric_names() -> Iterable[str]:
    """Return the names of all metrics."""
    return [f"{_PREFIX}{name}" for name in _HELP]
