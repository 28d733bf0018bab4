"""Prepares one run for the templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from coldwarm.checks.verdict import Status
from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.finding import Finding
from coldwarm.core.issue_reference import reference
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.cache_layers import CacheLayer
from coldwarm.diagnose.compilers import CompilerRow, KernelRow
from coldwarm.report.html.subgraph_map import ModelMap, maps_of
from coldwarm.report.html.time_line import Bar, TimeLine, in_groups
from coldwarm.report.summary import RunSummary

SEVERITY = [
    Status.ERROR,
    Status.FAILED,
    Status.UNEXPECTEDLY_FIXED,
    Status.KNOWN_ISSUE,
    Status.UNSUPPORTED,
    Status.PASSED,
]
"""Statuses, the most urgent first."""


@dataclass(frozen=True)
class Time:
    """A start in the table of runs."""

    kind: str
    seconds: float
    bars: list[Bar]


@dataclass(frozen=True)
class Issue:
    """A known issue that a run shows."""

    id: str
    title: str
    link: str
    reference: str
    """Where to read about it if the link cannot be followed."""


@dataclass(frozen=True)
class RunPage:
    """One run."""

    number: int
    summary: RunSummary
    times: list[Time]
    time_line: TimeLine
    maps: list[ModelMap]
    issues: list[Issue]
    findings: list[Finding]
    changed: list[ChangedFactor]
    """Components of cache keys that differ, where the findings have recorded them."""
    layers: list[CacheLayer]
    compilers: list[CompilerRow]
    kernels: list[KernelRow]
    notes: list[str]

    @classmethod
    def of(cls, number: int, summary: RunSummary, longest: float) -> Self:
        """Prepare a run; in the table, its times are drawn on a scale that ends at `longest` seconds."""
        result, explanation = summary.result, summary.result.explanation
        findings = explanation.findings if explanation is not None else []
        records = records_of(summary)
        accepting = result.verdict.accepting
        return cls(
            number=number,
            summary=summary,
            times=[Time(record.kind, record.seconds, in_groups(record, longest)) for record in records],
            time_line=TimeLine.of([(f"{record.kind}", record) for record in records]),
            maps=maps_of(result.cold, explanation),
            issues=[
                Issue(each.id, each.title, each.link, reference(each))
                for each in result.verdict.issues
                if each.id in accepting
            ],
            findings=findings,
            changed=[finding.changed for finding in findings if finding.changed is not None],
            layers=[layer for layer in (explanation.layers if explanation is not None else []) if _has_counts(layer)],
            compilers=explanation.compilers if explanation is not None else [],
            kernels=explanation.kernels if explanation is not None else [],
            notes=[*summary.notes, *(explanation.notes if explanation is not None else [])],
        )

    @property
    def severity(self) -> int:
        """The place of its status among `SEVERITY`."""
        return SEVERITY.index(self.summary.status)


def records_of(summary: RunSummary) -> list[StartRecord]:
    """Return the records of the starts, cold first."""
    return [record for record in (summary.result.cold, summary.result.warm) if record is not None]


def longest_start(runs: list[RunSummary]) -> float:
    """Return the seconds of the longest start."""
    return max((record.seconds for run in runs for record in records_of(run)), default=1.0)


def _has_counts(layer: CacheLayer) -> bool:
    """Return whether anything was looked up in the layer, or it is off."""
    return any(
        counts is not None and (counts.hits or counts.misses or counts.bypasses or counts.is_off)
        for counts in (layer.cold, layer.warm)
    )
