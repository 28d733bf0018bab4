"""Makes entries of the history: from the folder of a suite, and from a start that was watched."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from coldwarm import __version__
from coldwarm.checks.run_context import context_of, warm_changes
from coldwarm.checks.verdict import Status, Verdict
from coldwarm.core.case import Case
from coldwarm.core.checkout import Checkout, commit_in_version
from coldwarm.core.errors import UsageError, unreadable_as_usage_error
from coldwarm.core.finding import Finding
from coldwarm.core.record import StartRecord
from coldwarm.core.run_folder import REPETITIONS, SUITE, SuiteFolder
from coldwarm.core.stats import CompileStats
from coldwarm.engines.base import load_vocabulary
from coldwarm.store import schema
from coldwarm.store.history.packing import Files
from coldwarm.store.history.points import Counts, Point, ShortFinding, StartPoint
from coldwarm.store.suite_folder import StoredRun, models_not_started, read_runs, read_verdict

_ID_DIGITS = 32
_LONGEST_TEXT = 500
"""In characters, of a reason or a finding in a point; the content of the run has all of it."""


@dataclass(frozen=True)
class Entry:
    """A run to be stored."""

    point: Point
    files: Files


class Surroundings(BaseModel):
    """What is recorded with a suite and not with each of its starts."""

    coldwarm: str | None = __version__
    versions: dict[str, str] = {}
    hardware: dict[str, str] = {}
    checkout: Checkout | None = None


def entries_of(folder: Path) -> tuple[list[Entry], list[str], list[str]]:
    """Return an entry for each finished run of the suite, or the single run, in `folder`, and the names of the others.

    A run is finished if it has the record of a start, and each of its repetitions has a verdict. The others are first
    those that are unsupported, so that nothing was started, then those that are not finished.

    Raises:
        UsageError: `folder` contains no run, or one that cannot be read.
    """
    runs = read_runs(folder)
    suite = _suite_of(folder)
    surroundings = _surroundings(suite, runs)
    entries: list[Entry] = []
    unsupported: list[str] = []
    unfinished = models_not_started(folder)
    for run in runs:
        verdict = read_verdict(run.folder)
        if run.cold is None and verdict is not None and verdict.status is Status.UNSUPPORTED:
            unsupported.append(run.case.name)
            continue
        if verdict is None or run.cold is None or not _is_complete(run):
            unfinished.append(run.case.name)
            continue
        point = _point(run, verdict, surroundings)
        entries.append(Entry(point, _files(run, suite)))
    return entries, unsupported, unfinished


def _is_complete(run: StoredRun) -> bool:
    """Return whether all repetitions have a verdict; the run has one as soon as the first of them does."""
    judged = sum(read_verdict(each.folder) is not None for each in run.repetitions)
    return 1 + judged >= run.case.repeat


def id_of(name: str, starts: Iterable[StartRecord]) -> str:
    """Return what identifies the run `name` in every store: a digest of when its starts began and how long they took.

    It does not depend on what a later version of coldwarm adds to records or changes in verdicts. No two runs of one
    name begin in the same microsecond and take the same time.
    """
    return digest([name, [[each.kind, each.began.timestamp(), each.seconds, each.outcome] for each in starts]])


def machine_of(hardware: Mapping[str, str]) -> str:
    """Return a short name for a machine: its GPU, or else its CPU, and the number of cores."""
    processor = hardware.get("gpu") or hardware.get("cpu") or hardware.get("machine") or ""
    cores = hardware.get("cores", "")
    return ", ".join(filter(None, [processor, f"{cores} core{'' if cores == '1' else 's'}" if cores else ""]))


def start_point(record: StartRecord, kind: str, number: int = 1) -> StartPoint:
    """Return the point of one start."""
    ranks = load_vocabulary(record.engine).compile_stats(record)
    memory = record.facts.peak_device_memory_bytes if record.facts is not None else None
    return StartPoint(
        kind=kind,
        number=number,
        outcome=record.outcome,
        began=record.began,
        seconds=record.seconds,
        cpu_seconds=record.cpu_seconds,
        parallel_starts=record.side_by_side,
        phases={phase.name: phase.seconds for phase in record.phases},
        ranks=len(ranks),
        counts=_counts(record, next(iter(ranks.values()), None)),
        peak_memory_bytes=record.peak_memory_bytes,
        peak_device_memory_bytes=memory,
    )


def _counts(record: StartRecord, stats: CompileStats | None) -> Counts:
    if stats is None:
        return Counts()
    work, kernels = record.compiler_work, stats.kernels
    unique = stats.unique if stats.unique is not None or work is None else work.subgraphs_unique
    # Nothing is compiled at other depths, so zeros would be meaningless.
    has_artifacts = record.depth.level.has_artifacts
    return Counts(
        subgraphs=stats.subgraphs,
        unique=unique,
        saved=stats.saved if has_artifacts else None,
        loaded=stats.loaded if has_artifacts else None,
        misses=stats.misses if has_artifacts else None,
        code_generations=stats.code_generations if has_artifacts else None,
        kernels_compiled=kernels.compiled if kernels is not None else None,
        kernels_loaded=sum(each.loaded for each in kernels.compilers) if kernels is not None else None,
        kernels_after_ready=sum(each.times for each in kernels.after_ready) if kernels is not None else None,
    )


def _point(run: StoredRun, verdict: Verdict, surroundings: Surroundings) -> Point:
    case, cold = run.case, run.cold
    assert cold is not None
    starts = [
        (record, number)
        for number, each in enumerate(run.all_repetitions, 1)
        for record in (each.cold, each.warm)
        if record is not None
    ]
    # Those of the repetition that has the verdict.
    explanation = run.all_repetitions[min(verdict.repetition, len(run.all_repetitions)) - 1].explanation
    findings = explanation.findings if explanation is not None and not explanation.failed else []
    changes = warm_changes(cold, run.warm)
    return Point(
        id=id_of(case.name, [record for record, _ in starts]),
        source="run",
        model=case.model_id,
        name=case.name,
        settings=_settings(case, cold, changes),
        warm_changes=tuple(changes),
        verdict=verdict.status,
        reasons=tuple(shortened(reason) for reason in verdict.reasons),
        known_issues=tuple(issue.id for issue in verdict.issues if issue.shows),
        findings=tuple(_short_finding(each) for each in findings),
        starts=tuple(start_point(record, record.kind, number) for record, number in starts),
        **fields_of_record(cold, surroundings),
    )


def fields_of_record(record: StartRecord, surroundings: Surroundings) -> dict[str, Any]:
    """Return the fields of a point that the first start of a run determines."""
    context = context_of(record)
    hardware = (record.facts.hardware if record.facts is not None else None) or surroundings.hardware
    versions = dict(context.versions or surroundings.versions)
    if surroundings.coldwarm is not None:
        versions["coldwarm"] = surroundings.coldwarm
    checkout = surroundings.checkout or _checkout_of_version(record.engine, versions)
    return {
        "when": record.began,
        "command": shlex.join(record.command) or None,
        "engine": record.engine,
        "device": record.device,
        "compilation": record.compilation,
        "depth": record.depth,
        "isolation": record.isolation,
        "aot_artifact": context.aot_artifact,
        "versions": versions,
        "options": context.options,
        "environment": context.environment,
        "commit": checkout.commit if checkout is not None else None,
        "commit_of": checkout.of if checkout is not None else None,
        "has_local_changes": checkout is not None and checkout.has_local_changes,
        "machine": machine_of(hardware),
        "hardware": hardware,
    }


def _settings(case: Case, cold: StartRecord, changes: list[str]) -> str:
    context = context_of(cold)
    command = cold.command if case.command is not None else None
    what = [case.model_id, command, case.config, case.overrides, case.drafter, case.files]
    how = [case.engine, case.device, case.compilation, case.aot_artifact, case.depth]
    return digest([*what, *how, context.options, context.environment, changes])


def _checkout_of_version(engine: str, versions: Mapping[str, str]) -> Checkout | None:
    commit = commit_in_version(versions.get(engine, ""))
    return None if commit is None else Checkout(of=engine, commit=commit)


def _surroundings(suite: schema.SuiteRecord | None, runs: list[StoredRun]) -> Surroundings:
    """Return what was recorded with the suite, and the machine of its starts, which one that crashed does not name."""
    facts = [run.cold.facts for run in runs if run.cold is not None and run.cold.facts is not None]
    hardware = next((each.hardware for each in facts if each.hardware), {})
    if suite is None:
        return Surroundings(coldwarm=None, hardware=hardware)
    return Surroundings(coldwarm=suite.coldwarm, versions=suite.versions, hardware=hardware, checkout=suite.checkout)


def _suite_of(folder: Path) -> schema.SuiteRecord | None:
    """Return the suite in `folder`, or of which `folder` is a run; None: it is a run by itself."""
    with unreadable_as_usage_error():
        # `folder` may be ".", which has no parent.
        above = folder.resolve().parent
        return schema.SUITE.read(SuiteFolder(folder).suite) or schema.SUITE.read(SuiteFolder(above).suite)


def _files(run: StoredRun, suite: schema.SuiteRecord | None) -> dict[str, Any]:
    files: dict[str, Any] = {}
    with unreadable_as_usage_error():
        for path in sorted([*run.folder.glob("*.json"), *run.folder.glob(f"{REPETITIONS}/*.json")]):
            try:
                files[path.relative_to(run.folder).as_posix()] = json.loads(path.read_bytes())
            except ValueError as error:
                raise UsageError(f"{path} is damaged: {error}") from error
    if suite is not None:
        files[SUITE] = schema.SUITE.to_data(suite.model_copy(update={"models": [run.case.name]}))
    return files


def _short_finding(finding: Finding) -> ShortFinding:
    return ShortFinding(finding.kind, finding.start, shortened(finding.what), finding.seconds, finding.kernel)


def shortened(text: str) -> str:
    """Return `text`, cut to the length of a text in a point."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def digest(content: object) -> str:
    """Return what identifies `content`, which is JSON."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_ID_DIGITS]
