"""All that can be said of a run beyond its verdict: classes of subgraphs, cache layers, findings."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.finding import Finding
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import RunFolder, trace_name
from coldwarm.diagnose.autotuning import tuned_again_findings
from coldwarm.diagnose.cache_layers import CacheLayer, TraceCounter, cache_layers
from coldwarm.diagnose.costs import charged, without_cost
from coldwarm.diagnose.crash_on_load import crash_on_load_findings
from coldwarm.diagnose.frame_caches import FrameCaches
from coldwarm.diagnose.misses import KnownOfRun, miss_findings
from coldwarm.diagnose.missing_bytecode import imported_from_source_findings
from coldwarm.diagnose.sharing import ClassReport, class_reports, sharing_findings
from coldwarm.engines.base import load_vocabulary
from coldwarm.graphs.subgraphs import SubgraphCollector
from coldwarm.trace.reader import Consumer, TraceStats, read_trace


class Explanation(BaseModel):
    """What was found, and what could not be read."""

    models: list[list[ClassReport]] = Field(default_factory=list)
    """The classes of subgraphs of each model that the cold start compiled (a language model; an encoder)."""
    layers: list[CacheLayer] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    """What is missing or could not be read, so that something may be left unexplained."""
    failed: bool = False
    """Whether an error ended it: that there is no finding says nothing then."""


def explain(folder: Path, cold: StartRecord | None, warm: StartRecord | None) -> Explanation:
    """Explain the run whose traces and cache keys lie in `folder`; what is not there is told in the notes."""
    files = RunFolder(folder)
    subgraphs = SubgraphCollector()
    cold_frames, warm_frames = FrameCaches(), FrameCaches()
    cold_counts, warm_counts = TraceCounter(), TraceCounter()
    notes = []
    if cold is not None:
        trace_stats = _read(files, cold, subgraphs, cold_frames, cold_counts)
        notes += _unread(StartKind.COLD, trace_stats)
    if warm is not None:
        trace_stats = _read(files, warm, warm_frames, warm_counts)
        notes += _unread(StartKind.WARM, trace_stats)
    findings = [finding for model in subgraphs.models for finding in sharing_findings(model)]
    if cold is not None and warm is not None:
        known = KnownOfRun(
            cold_keys=_keys(files, StartKind.COLD),
            warm_keys=_keys(files, StartKind.WARM),
            cold_frames=cold_frames.frames(),
            warm_frames=warm_frames.frames(),
        )
        if known.cold_keys is None or known.warm_keys is None:
            notes.append("what went into the cache keys was not recorded")
        for keys in (known.cold_keys, known.warm_keys):
            notes += (
                [f"a part of the cache keys was not recorded: {problem}" for problem in keys.problems] if keys else []
            )
        missed = miss_findings(cold, warm, known)
        # Why a start did not finish comes first.
        findings = [*missed, *findings] if warm.facts is None else [*findings, *missed]
        findings += tuned_again_findings(cold, warm)
    elif cold is not None and any(content.files for content in cold.caches_before.values()):
        findings = [*crash_on_load_findings(cold, None, []), *findings]
    if cold is not None and not cold.depth.level.has_kernels:
        # What was left out would have cost most.
        findings = [without_cost(finding) for finding in findings]
    for record in (cold, warm):
        if record is not None and (seconds := charged(findings, record)) > record.seconds:
            findings = [without_cost(each) if each.start is record.kind else each for each in findings]
            notes.append(_too_long(record, seconds))
    for finding in imported_from_source_findings(cold, warm):
        findings.append(_charged_the_rest(finding, findings, cold if finding.start is StartKind.COLD else warm))
    return Explanation(
        models=[class_reports(model) for model in subgraphs.models],
        layers=cache_layers(cold, warm, cold_counts, warm_counts),
        findings=findings,
        notes=notes,
    )


def _read(files: RunFolder, record: StartRecord, *consumers: Consumer) -> TraceStats:
    return read_trace(files.trace(record.kind), *consumers, vocabulary=load_vocabulary(record.engine).trace)


def _too_long(record: StartRecord, seconds: float) -> str:
    return (
        f"what the findings on the {record.kind} start cost is unknown: {seconds:.1f} s were measured in a start of "
        f"{record.seconds:.1f} s; the clock may have been set while it ran"
    )


def _charged_the_rest(finding: Finding, findings: list[Finding], record: StartRecord | None) -> Finding:
    """Charge to `finding` no more than what `findings` leave of its start: compilers import modules, too."""
    if finding.seconds is None or record is None:
        return finding
    return finding.model_copy(update={"seconds": min(finding.seconds, record.seconds - charged(findings, record))})


def _keys(folder: RunFolder, kind: StartKind) -> CacheKeys | None:
    try:
        keys = CacheKeys.model_validate_json(folder.keys(kind).read_bytes())
    except (OSError, ValidationError):
        return None
    return keys if keys.factors or keys.problems else None


def _unread(kind: StartKind, trace_stats: TraceStats) -> list[str]:
    if trace_stats.files == 0:
        return [f"{trace_name(kind)} holds no trace"]
    if trace_stats.malformed.count:
        first = f"; the first: {trace_stats.malformed.first[0]!r}" if trace_stats.malformed.first else ""
        return [f"lines of {trace_name(kind)} that could not be read: {trace_stats.malformed.count}{first}"]
    return []
