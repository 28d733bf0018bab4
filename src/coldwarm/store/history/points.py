"""What the history returns: points of plain data, one for each run, and a line for each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

# As in `coldwarm.core.record`, which takes longer to import than the history takes to be read.
_COLD, _WARM = "cold", "warm"
_FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Counts:
    """What one start compiled and loaded, in its first rank; None: not counted, or the start did not finish."""

    subgraphs: int | None = None
    unique: int | None = None
    """Subgraphs that are not identical to an earlier one."""
    saved: int | None = None
    """Artifacts that the engine saved."""
    loaded: int | None = None
    """Artifacts that the engine loaded."""
    misses: int | None = None
    """Misses of the AOTAutograd cache."""
    code_generations: int | None = None
    """How often Inductor generated code for a graph."""
    kernels_compiled: int | None = None
    """Kernels that kernel compilers such as Triton compiled, each as often as it was."""
    kernels_loaded: int | None = None
    """Kernels that were loaded from a cache on disk."""
    kernels_after_ready: int | None = None
    """Kernels that were compiled after the engine was ready."""


@dataclass(frozen=True, slots=True)
class StartPoint:
    """One start of a run."""

    kind: str
    """A `StartKind`, or ``watched`` for a start that `coldwarm watch` observed in the user's own caches."""
    number: int
    """1, 2, ... among the starts of this kind: the repetition of the run."""
    outcome: str
    """An `Outcome`."""
    began: datetime
    """In UTC."""
    seconds: float
    """Wall time."""
    cpu_seconds: float | None
    """User and system time of all processes; None: not recorded."""
    parallel_starts: int
    """The most starts that ran in parallel with it, including itself, which affects its times."""
    phases: Mapping[str, float]
    """Wall time in seconds by the name of the phase, in order; they add up to `seconds`."""
    ranks: int
    """How many ranks were counted."""
    counts: Counts
    peak_memory_bytes: int | None
    """The sum of the peak resident memory of all processes."""
    peak_device_memory_bytes: int | None
    """Peak GPU memory reserved by PyTorch."""

    @property
    def finished(self) -> bool:
        """Whether the start ended as it should, so that its times and counts mean anything."""
        return self.outcome == _FINISHED


@dataclass(frozen=True, slots=True)
class ShortFinding:
    """A finding without its evidence."""

    kind: str
    """A `FindingKind`."""
    start: str
    what: str
    seconds: float | None
    """What it costs in each such start; None: unknown."""
    kernel: str | None
    """The kernel that it is about."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run in the history."""

    id: str
    """Identifies the run, by what its starts recorded: the same run has the same id in every store."""
    when: datetime
    """When its first start began, in UTC."""
    source: str
    """``run``: cold and warm starts by `coldwarm run`; ``watch``: one start that `coldwarm watch` observed."""
    model: str
    """The id of the model, or a name of the command."""
    name: str
    """The name of the run in its suite: that of the model, and the layout of AOT artifacts if it was chosen."""
    command: str | None
    """The user's command, without secrets; None: coldwarm started the model."""
    engine: str
    device: str
    compilation: str
    depth: str
    isolation: str
    aot_artifact: str | None
    """``bundled`` or ``separate``, as used; None: not recorded."""
    versions: Mapping[str, str]
    """Versions by distribution name, of ``python``, and of ``coldwarm``, which wrote the records; empty: a start that
    crashed records none."""
    options: Mapping[str, str]
    """The user's options of the engine: JSON text by dotted name, without secrets."""
    environment: Mapping[str, str]
    """The user's variables that may change what is compiled, without secrets."""
    warm_changes: tuple[str, ...]
    """Settings that only the warm start had, each as ``with`` or ``without NAME=VALUE``."""
    settings: str
    """Identifies everything that was asked for: the model with its config, or the command, and the engine, device,
    compilation, depth, options and variables. Only points with the same `settings` measure the same thing; they differ
    in versions, commits, machines and times."""
    commit: str | None
    """The commit of the checkout under test; None: it was not recorded."""
    commit_of: str | None
    """What was checked out: the name of the engine, or ``folder`` for the folder in which coldwarm ran."""
    has_local_changes: bool
    """Whether the checkout had changes that were not committed."""
    machine: str
    """The GPU, or else the CPU, and the number of cores; empty: not recorded."""
    hardware: Mapping[str, str]
    verdict: str
    """A `coldwarm.checks.verdict.Status`; of a watched start, a `coldwarm.diagnose.warmth.Warmth`."""
    reasons: tuple[str, ...]
    """Why the verdict is not ``passed``."""
    known_issues: tuple[str, ...]
    """The ids of the known issues that it shows."""
    findings: tuple[ShortFinding, ...]
    starts: tuple[StartPoint, ...]
    """In the order in which they ran."""

    @property
    def cold(self) -> StartPoint | None:
        """The first cold start; None: there was none."""
        return self._first(_COLD)

    @property
    def warm(self) -> StartPoint | None:
        """The first warm start; None: there was none."""
        return self._first(_WARM)

    @property
    def timed_alike(self) -> tuple[str, str, str, int]:
        """What two points must have in common before their seconds can be compared: settings, machine, isolation, and
        the number of parallel starts."""
        parallel = max((start.parallel_starts for start in self.starts), default=1)
        return self.settings, self.machine, self.isolation, parallel

    def version(self, distribution: str) -> str | None:
        """Return the version of a distribution; None: not installed, or not recorded."""
        return self.versions.get(distribution)

    def _first(self, kind: str) -> StartPoint | None:
        return next((start for start in self.starts if start.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which points to return; a field that is None admits all."""

    id: str | None = None
    source: str | None = None
    model: str | None = None
    engine: str | None = None
    device: str | None = None
    compilation: str | None = None
    depth: str | None = None
    version: str | None = None
    """That of the engine: 0.33 admits also 0.33.1 and 0.33.0+cu130."""
    torch: str | None = None
    """That of torch, in the same way."""
    machine: str | None = None
    """A part of `Point.machine`, in any case."""
    commit: str | None = None
    """The first characters of `Point.commit`."""
    verdict: str | None = None
    settings: str | None = None
    since: datetime | None = None
    """With a time zone."""
    until: datetime | None = None
    """Points before this, with a time zone."""

    def of(self, model: str) -> Filter:
        """Return the filter of the points of `model` among these."""
        return replace(self, model=model)


@dataclass(frozen=True, slots=True)
class ModelRuns:
    """How much the history has of one model or command."""

    model: str
    runs: int
    first: datetime
    """When its oldest run began, in UTC."""
    last: datetime
    last_verdict: str
    """That of its newest run."""


@dataclass(frozen=True, slots=True)
class Added:
    """What was done with the runs of a suite's folder."""

    stored: tuple[str, ...]
    """The names of the runs that are new in the history."""
    known: tuple[str, ...]
    """Those that were stored before."""
    unsupported: tuple[str, ...]
    """Those that the device cannot run, so that nothing was started; they are not stored."""
    unfinished: tuple[str, ...]
    """Those that have no verdict, because they were interrupted, or were not started because of that."""
