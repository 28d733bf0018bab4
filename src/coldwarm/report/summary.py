"""Summarizes a suite once, for all views: the table, report files, `coldwarm show` and pytest only format it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from coldwarm.checks.verdict import Status
from coldwarm.core.checks import Check
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.options import flatten
from coldwarm.core.record import Outcome, StartKind, StartRecord
from coldwarm.core.run_folder import log_name
from coldwarm.core.secrets import Secrets
from coldwarm.engines.base import load_vocabulary
from coldwarm.engines.vocabulary import Vocabulary
from coldwarm.report.findings import finding_lines, short_lines
from coldwarm.report.footnotes import footnotes
from coldwarm.suite.result import RunResult, exit_code

# With line breaks for a narrow terminal, so that the whole table fits 80 columns.
HEADINGS = (
    "model",
    "subgraphs",
    "unique",
    "cold\nsaved/\nloaded",
    "warm\nsaved/\nloaded",
    "cold\ns",
    "warm\ns",
    "verdict",
)
"""The headings of the table."""

SHORT_LOG_TAIL = 8
"""How many of the recorded log lines are shown in short views."""

_UNHEALTHY = (Status.FAILED, Status.UNEXPECTEDLY_FIXED, Status.ERROR)


@dataclass(frozen=True)
class CheckSummary:
    """One invariant or expectation."""

    mark: str
    """``ok``, ``FAIL``, ``known`` for a failure that a known issue accepts, or ``-`` if it could not be checked."""
    message: str
    passed: bool
    evidence: list[str]


@dataclass(frozen=True)
class StartSummary:
    """One start."""

    kind: str
    outcome: str
    seconds: float
    parallel_starts: int
    """The most starts that ran in parallel with it, including itself."""
    phases: dict[str, float]
    """Seconds by name, in order."""
    details: dict[str, str]
    """Further details by label: caches, memory, versions, settings."""
    messages: list[str]
    """Warnings and errors that the engine or the compiler logged."""
    failure: str | None
    log: str
    """The name of the start's log."""
    log_tail: list[str]
    """The last lines of the log, if the start failed."""


@dataclass(frozen=True)
class RunSummary:
    """One run."""

    name: str
    engine: str
    device: str
    compilation: str
    status: Status
    cells: list[str]
    """The row of the table, under `HEADINGS`."""
    reasons: list[str]
    notes: list[str]
    checks: list[CheckSummary]
    why: list[str]
    """The findings on the model, each in one or two lines."""
    findings: list[list[str]]
    """All findings in full, as lines."""
    starts: list[StartSummary]
    reproduce: str
    """The shell command that repeats the run."""
    result: RunResult
    """The data that is summarized here."""

    @classmethod
    def of(cls, result: RunResult) -> RunSummary:
        """Summarize one run."""
        case, verdict = result.case, result.verdict
        findings = result.explanation.findings if result.explanation is not None else []
        return cls(
            name=case.name,
            engine=case.engine,
            device=case.device,
            compilation=case.compilation,
            status=verdict.status,
            cells=_cells(result),
            reasons=verdict.reasons,
            notes=verdict.notes,
            checks=[CheckSummary(_mark(check), check.words, check.holds, check.evidence) for check in verdict.checks],
            why=short_lines(findings),
            findings=[finding_lines(finding) for finding in findings],
            starts=[_start(record) for record in (result.cold, result.warm) if record is not None],
            reproduce=result.reproduce,
            result=result,
        )

    @property
    def title(self) -> str:
        """The run and its verdict, in one line."""
        return f"{self.name} on {self.engine}, {self.device}, {self.compilation}: {self.status}"

    @property
    def is_unhealthy(self) -> bool:
        """Whether the run needs attention."""
        return self.status in _UNHEALTHY

    @property
    def seconds(self) -> float:
        """The total time of its starts."""
        return sum(start.seconds for start in self.starts)

    def evidence(self, *, first_lines: bool = False) -> list[str]:
        """Return the evidence of failed checks; with `first_lines`, only the first line of each piece."""
        pieces = [piece for check in self.checks if not check.passed for piece in check.evidence]
        return [f"log: {piece.splitlines()[0] if first_lines else piece}" for piece in pieces]

    def log_tail(self, limit: int | None = None) -> list[str]:
        """Return the last lines, at most `limit`, of the failed start's log, each prefixed with the log's name."""
        failed = next((start for start in self.starts if start.failure is not None), None)
        if failed is None:
            return []
        lines = failed.log_tail if limit is None else failed.log_tail[-limit:]
        return [f"{failed.log}: {line}" for line in lines]


@dataclass(frozen=True)
class SuiteSummary:
    """All runs of a suite."""

    runs: list[RunSummary]
    footnotes: list[str]
    """What applies to the suite as a whole."""
    exit_code: ExitCode

    @classmethod
    def of(cls, results: list[RunResult]) -> SuiteSummary:
        """Summarize a suite."""
        return cls([RunSummary.of(result) for result in results], footnotes(results), exit_code(results))


def _mark(check: Check) -> str:
    if not check.is_checked:
        return "-"
    return "ok" if check.holds else "known" if check.accepted_by else "FAIL"


def _cells(result: RunResult) -> list[str]:
    cold, warm = result.cold, result.warm
    names = load_vocabulary(cold.engine if cold else result.case.engine)
    return [
        result.case.name,
        _counter(cold, names.subgraphs),
        _unique(cold, names),
        _saved_and_loaded(cold, names),
        _saved_and_loaded(warm, names),
        _seconds(result, StartKind.COLD),
        _seconds(result, StartKind.WARM),
        result.verdict.status,
    ]


def _seconds(result: RunResult, kind: StartKind) -> str:
    """Return the wall time of the start; if it was repeated, the median of those that finished."""
    records = [record for record in result.records if record.kind is kind]
    finished = [record.seconds for record in records if record.outcome is Outcome.FINISHED]
    seconds = finished or [record.seconds for record in records]
    return f"{median(seconds):.1f}" if seconds else ""


def _counter(record: StartRecord | None, name: str) -> str:
    return str(record.facts.counters.get(name, "?")) if record and record.facts else ""


def _unique(cold: StartRecord | None, names: Vocabulary) -> str:
    if cold is None or cold.compiler_work is None:
        return ""
    first = next(iter(names.compile_stats(cold).values()), None)
    return str(cold.compiler_work.subgraphs_unique if first is None or first.unique is None else first.unique)


def _saved_and_loaded(record: StartRecord | None, names: Vocabulary) -> str:
    # Nothing is compiled at this depth, so zeros would be meaningless.
    if record is None or record.facts is None or not record.depth.level.has_artifacts:
        return ""
    return f"{_counter(record, names.saved)} / {_counter(record, names.loaded)}"


def _start(record: StartRecord) -> StartSummary:
    failure = record.failure
    return StartSummary(
        kind=record.kind,
        outcome=record.outcome,
        seconds=record.seconds,
        parallel_starts=record.side_by_side,
        phases={phase.name: phase.seconds for phase in record.phases},
        details=dict(_details(record)),
        messages=[f"{message.level} {message.logger}: {message.text}" for message in record.messages],
        failure=failure.what if failure is not None else None,
        log=log_name(record.kind),
        log_tail=failure.log_tail if failure is not None else [],
    )


def _details(record: StartRecord) -> Iterator[tuple[str, str]]:
    caches = (
        f"{name} {content.files} files {content.bytes / 2**20:.1f} MiB" for name, content in record.caches_after.items()
    )
    yield "caches", ", ".join(caches) or "empty"
    if record.cpu_seconds is not None:
        yield "CPU time", f"{record.cpu_seconds:.1f} s, user and system, of all processes"
    if record.peak_memory_bytes:
        yield "memory", f"{record.peak_memory_bytes / 2**30:.1f} GiB peak"
    if record.facts:
        yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(record.facts.versions.items()))
    if record.environment:
        variables = Secrets(record.environment).environment(record.environment)
        yield "environment", ", ".join(f"{name}={value}" for name, value in variables.items())
    if record.options:
        options = flatten(Secrets(record.options).options(record.options))
        yield "options", ", ".join(f"{name}={value}" for name, value in options.items())
    if record.overridden:
        yield "replaced to isolate the start", ", ".join(record.overridden)
