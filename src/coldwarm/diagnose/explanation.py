"""The explanation of a run: groups of identical subgraphs, cache layers, findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.engine import TORCH
from coldwarm.core.finding import Finding
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import RunFolder, trace_name
from coldwarm.core.stage import Stage
from coldwarm.diagnose.autotuning import autotuning_findings
from coldwarm.diagnose.cache_layers import CacheLayer, TraceCounter, cache_layers
from coldwarm.diagnose.compared_graphs import ComparedGraphs, compared_graphs
from coldwarm.diagnose.compilers import CompilerRow, KernelRow, compiler_rows, slowest_kernels
from coldwarm.diagnose.costs import charged, without_cost
from coldwarm.diagnose.crash_on_load import crash_on_load_findings
from coldwarm.diagnose.kernels import kernel_findings
from coldwarm.diagnose.kv_cache import kv_cache_findings
from coldwarm.diagnose.late_functions import late_function_findings
from coldwarm.diagnose.misses import KnownOfRun, miss_findings
from coldwarm.diagnose.missing_bytecode import imported_from_source_findings
from coldwarm.diagnose.native_kernels import native_kernel_findings
from coldwarm.diagnose.rank_graphs import graph_findings
from coldwarm.diagnose.ranks import parts_of, rank_findings, rank_of_keys
from coldwarm.diagnose.sharing import ClassReport, class_reports, sharing_findings
from coldwarm.engines.base import load_vocabulary
from coldwarm.graphs.subgraphs import SubgraphCollector
from coldwarm.measure.busy_time import BusyTime
from coldwarm.measure.frame_caches import FrameCaches
from coldwarm.measure.intervals import Interval
from coldwarm.trace.reader import Consumer, TraceStats, read_trace

_MOST_RANKS = 8


class Explanation(BaseModel):
    """What was found, and what could not be read."""

    models: list[list[ClassReport]] = Field(default_factory=list)
    """The groups of identical subgraphs of each model that the cold start compiled (a language model; an encoder)."""
    layers: list[CacheLayer] = Field(default_factory=list)
    compilers: list[CompilerRow] = Field(default_factory=list)
    """What each compiler did, torch.compile first; empty: kernel compilers were not observed."""
    kernels: list[KernelRow] = Field(default_factory=list)
    """The kernels that took most time to compile, the slowest first."""
    findings: list[Finding] = Field(default_factory=list)
    compared_graphs: list[ComparedGraphs] | None = None
    """The graphs that prevent sharing, beside those that they should be the same as. None: not recorded."""
    notes: list[str] = Field(default_factory=list)
    """What is missing or could not be read, so that the explanation may be incomplete."""
    failed: bool = False
    """Whether an error ended it, so that the lack of findings means nothing."""


def explain(folder: Path, cold: StartRecord | None, warm: StartRecord | None) -> Explanation:
    """Explain the run whose traces and cache keys are in `folder`; the notes list what is missing."""
    files = RunFolder(folder)
    subgraphs = SubgraphCollector()
    of_other_ranks = [SubgraphCollector(rank) for rank in _further_ranks(cold)]
    cold_frames, warm_frames = FrameCaches(), FrameCaches()
    cold_counts, warm_counts = TraceCounter(), TraceCounter()
    busy = {kind: BusyTime() for kind in StartKind}
    notes = []
    has_graphs = False
    if cold is not None:
        trace_stats = _read(files, cold, subgraphs, *of_other_ranks, cold_frames, cold_counts, busy[StartKind.COLD])
        has_graphs = trace_stats.files > 0
        notes += _unread(cold, trace_stats)
    if warm is not None:
        trace_stats = _read(files, warm, warm_frames, warm_counts, busy[StartKind.WARM])
        notes += _unread(warm, trace_stats)
    findings = sharing_findings(subgraphs.models)
    if cold is not None and warm is not None:
        known = KnownOfRun(
            cold_keys=_keys(files, StartKind.COLD),
            warm_keys=_keys(files, StartKind.WARM),
            cold_frames=cold_frames.frames(),
            warm_frames=warm_frames.frames(),
        )
        uses_torch_compile = cold.facts is None or cold.facts.torch_compile is None
        # PyTorch's own keys are in the trace.
        has_keys = cold.engine != TORCH
        if has_keys and uses_torch_compile and (known.cold_keys is None or known.warm_keys is None):
            notes.append("the components of the cache keys were not recorded")
        for keys in (known.cold_keys, known.warm_keys):
            notes += (
                [f"some components of the cache keys were not recorded: {problem}" for problem in keys.problems]
                if keys
                else []
            )
        missed = miss_findings(cold, warm, known)
        # The reason why a start did not finish comes first.
        findings = [*missed, *findings] if warm.facts is None else [*findings, *missed]
        findings += autotuning_findings(cold, warm)
        native = native_kernel_findings(cold, warm)
        findings += [without_cost(each) for each in native] if charged(findings, warm) else native
    elif cold is not None and any(content.files for content in cold.caches_before.values()):
        findings = [*crash_on_load_findings(cold, None, []), *findings]
    if cold is not None:
        charged_to = {finding.start for finding in findings if finding.seconds}
        compiling = {kind: _compiling(busy[kind]) if kind in charged_to else [] for kind in StartKind}
        findings += kernel_findings(cold, warm, compiling)
        findings += late_function_findings(cold, warm)
    if cold is not None and not cold.depth.level.has_kernels:
        # Without kernels, the measured times are not those of a complete start.
        findings = [without_cost(finding) for finding in findings]
    for record in (cold, warm):
        if record is not None and (seconds := charged(findings, record)) > record.seconds:
            findings = [without_cost(each) if each.start is record.kind else each for each in findings]
            notes.append(_too_long(record, seconds))
    findings += _ranks_disagree(files, cold, warm)
    if cold is not None:
        findings += _ranks_compile_differently(cold, [subgraphs, *of_other_ranks])
    if cold is not None and warm is not None:
        findings += kv_cache_findings(cold, warm)
    for finding in imported_from_source_findings(cold, warm):
        findings.append(_charged_the_rest(finding, findings, cold if finding.start is StartKind.COLD else warm))
    return Explanation(
        models=[class_reports(model) for model in subgraphs.models],
        layers=cache_layers(cold, warm, cold_counts, warm_counts),
        compilers=compiler_rows(cold, warm),
        kernels=slowest_kernels(cold, warm),
        findings=findings,
        compared_graphs=compared_graphs(subgraphs.models) if has_graphs else None,
        notes=notes,
    )


def _read(files: RunFolder, record: StartRecord, *consumers: Consumer) -> TraceStats:
    return read_trace(files.trace(record.kind), *consumers, vocabulary=load_vocabulary(record.engine).trace)


def _compiling(busy: BusyTime) -> list[Interval]:
    """Return when torch.compile worked, without loading."""
    return [(each.begin, each.end) for each in busy.stretches() if each.stage is not Stage.LOAD]


def _too_long(record: StartRecord, seconds: float) -> str:
    return (
        f"the cost of the findings on the {record.kind} start is unknown: {seconds:.1f} s were measured in a start of "
        f"{record.seconds:.1f} s; the clock may have been changed while it ran"
    )


def _charged_the_rest(finding: Finding, findings: list[Finding], record: StartRecord | None) -> Finding:
    """Charge `finding` at most what `findings` leave of its start, because compilers import modules, too."""
    if finding.seconds is None or record is None:
        return finding
    return finding.model_copy(update={"seconds": min(finding.seconds, record.seconds - charged(findings, record))})


def _ranks_disagree(files: RunFolder, *records: StartRecord | None) -> list[Finding]:
    """Return how ranks disagree in each start; different keys in both starts only once."""
    findings: list[Finding] = []
    for record in records:
        if record is None or record.engine == TORCH:  # the ranks of a script may do different things
            continue
        known = [finding.what for finding in findings]
        for finding in rank_findings(record, _keys_by_rank(files, record), when=f"in the {record.kind} start"):
            findings += [finding] if finding.what not in known else []
    return findings


def _further_ranks(record: StartRecord | None) -> list[int]:
    """Return the ranks of an engine's start whose graphs are compared with those of rank 0."""
    if record is None or record.facts is None or record.engine == TORCH:
        return []
    ranks = {process.rank for process in record.facts.processes if process.rank}
    return sorted(ranks)[: _MOST_RANKS - 1]


def _ranks_compile_differently(record: StartRecord, collectors: Sequence[SubgraphCollector]) -> list[Finding]:
    """Return a finding for each line of code that gives ranks of the same part of the model different graphs."""
    models = {collector.rank: collector.models for collector in collectors}
    expected = load_vocabulary(record.engine).differs_by_rank
    found = []
    for part in parts_of(record):
        of_part = {each.rank: models[each.rank] for each in part if each.rank is not None and each.rank in models}
        found += graph_findings(of_part, expected) if len(of_part) > 1 else []
    return found


def _keys_by_rank(files: RunFolder, record: StartRecord) -> dict[int, CacheKeys]:
    """Return the stored components of the keys of each rank, without ranks of which they are unknown."""
    processes = record.facts.processes if record.facts is not None else []
    found = {}
    for process in processes:
        keys = _keys(files, record.kind, rank_of_keys(record, process))
        if keys is not None and process.rank is not None:
            found[process.rank] = keys
    return found


def _keys(folder: RunFolder, kind: StartKind, rank: int | None = None) -> CacheKeys | None:
    try:
        keys = CacheKeys.model_validate_json(folder.keys(kind, rank).read_bytes())
    except (OSError, ValidationError):
        return None
    return keys if keys.factors or keys.problems else None


def _unread(record: StartRecord, trace_stats: TraceStats) -> list[str]:
    kind = record.kind
    if trace_stats.files == 0:
        # PyTorch writes none if nothing is compiled with torch.compile.
        nothing_to_trace = record.facts is not None and record.facts.torch_compile is not None
        return [] if nothing_to_trace else [f"{trace_name(kind)} contains no trace"]
    if trace_stats.malformed.count:
        first = f"; the first: {trace_stats.malformed.first[0]!r}" if trace_stats.malformed.first else ""
        lines = (
            "1 malformed line" if trace_stats.malformed.count == 1 else f"{trace_stats.malformed.count} malformed lines"
        )
        return [f"{trace_name(kind)}: {lines}{first}"]
    return []
