"""The record of one start: all that a verdict or an explanation may want to know, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, Field, PrivateAttr, field_serializer

from coldwarm.core.cache_files import CacheContent, FileChange
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.compiler_work import CompilerWork
from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import Phase, Step
from coldwarm.core.secrets import Secrets
from coldwarm.core.seen_in_process import MissingBytecode, OutsideUse, combined

SCHEMA_VERSION = 2


class StartKind(StrEnum):
    """Which of a run's two starts."""

    COLD = "cold"
    WARM = "warm"


class Outcome(StrEnum):
    """How a start ended."""

    FINISHED = "finished"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"


class Message(BaseModel):
    """A warning or an error that the engine or the compiler logged."""

    logger: str
    level: str
    text: str


class Failure(BaseModel):
    """Why a start did not finish."""

    what: str
    """In one line."""
    phase: str | None = None
    """What the start was doing."""
    exception: str | None = None
    """The exception's type."""
    traceback: str | None = None
    signal: str | None = None
    """The signal that ended the process."""
    log_tail: list[str] = Field(default_factory=list)
    """The last lines of the start's log."""


class LayerKind(BaseModel):
    """Layers of one class with parameters of the same names, shapes and types."""

    layer_class: str
    layers: int
    parameters: int
    """Parameter tensors in one such layer."""


class ModelLayers(BaseModel):
    """The layers of a model that the engine compiles beside the main one: a drafter, an encoder."""

    name: str
    """What the engine calls it; `CompiledGraph.name` of its graphs."""
    layer_kinds: list[LayerKind] = Field(default_factory=list)
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """As `ProcessReport.layer_configurations`; empty: no layers were found."""


class GeneratedToken(BaseModel):
    """One greedily generated token."""

    token_id: int
    logprobs: dict[int, float | None]
    """Natural logarithms by token id, the likeliest and the generated one; None: not a number."""


class ProcessReport(BaseModel):
    """What the probes of one process saw. A probe that failed leaves its fields as they are, and is named."""

    pid: int | None = None
    """None: not recorded."""
    parent_pid: int | None = None
    """The process that created it; None: not recorded."""
    role: str = "worker"
    """What the engine has the process do: ``worker`` runs the model."""
    rank: int | None = None
    """Its number among all processes that run the model together, from 0; None: it does not run the model."""
    counters: dict[str, int] = Field(default_factory=dict)
    """How far each counter rose during the start, by flat name."""
    layer_kinds: list[LayerKind] = Field(default_factory=list)
    """Derived from the layers of the rank's part of the model: of the main one if several models are compiled."""
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """For each layer, by its path as graphs spell it (``modules_layers_modules_3``), the number of its configuration:
    the same for layers that differ in nothing but their weights; empty: not recorded, or no layers were found."""
    main_model: str | None = None
    """What the engine calls the main model among those that it compiles (vLLM: ``backbone``); None: not recorded."""
    further_models: list[ModelLayers] = Field(default_factory=list)
    """The other models that the engine compiles, by name; empty: none, or not recorded."""
    messages: list[Message] = Field(default_factory=list)
    """Warnings and errors of the engine and the compiler."""
    outside: OutsideUse = Field(default_factory=OutsideUse)
    """What the process read and wrote outside of the start's own folders."""
    missing_bytecode: MissingBytecode | None = None
    """What Python compiled from source since the process, or the one that it was forked from, was observed; None: not
    recorded."""
    keys_digest: str | None = None
    """Identifies all components of the cache keys that the process computed; None: it computed none, or not
    recorded."""
    cache_keys: CacheKeys | None = None
    """These components, in what the process writes; a record leaves them out, and the first rank's are in a file."""
    peak_memory_bytes: int | None = None
    """Peak resident memory."""
    peak_device_memory_bytes: int | None = None
    """The most that PyTorch reserved on the GPU; None on a CPU."""
    failed_probes: dict[str, str] = Field(default_factory=dict)
    """The probes that could not observe, or not all, by name, each with its error."""


def in_order(reports: Iterable[ProcessReport]) -> list[ProcessReport]:
    """Return the reports with each process after the one that created it, and the ranks in their order."""
    found = list(reports)
    parents = {report.pid: report.parent_pid for report in found if report.pid is not None}

    def place(report: ProcessReport) -> tuple[int, int, int]:
        ancestors: set[int | None] = set()
        pid = report.parent_pid
        while pid in parents and pid not in ancestors:
            ancestors.add(pid)
            pid = parents[pid]
        return len(ancestors), -1 if report.rank is None else report.rank, report.pid or 0

    return sorted(found, key=place)


class EngineFacts(BaseModel):
    """What the engine knows of a start that finished.

    What was seen in single processes is in `StartRecord.processes`. The properties of that kind here are shorthands
    for the first rank's, or of the whole start where their documentation says so.
    """

    versions: dict[str, str]
    """By distribution name; ``python`` too."""
    hardware: dict[str, str]
    aot_artifact: str | None = None
    """``bundled`` or ``separate``, as the engine had it; None: not recorded."""
    prompt_token_ids: list[int]
    generated: list[GeneratedToken]
    generated_again: list[GeneratedToken] = Field(default_factory=list)
    """From the same prompt a second time, to tell an engine that does not repeat itself; empty: not recorded."""
    ineffective_options: dict[str, str] = Field(default_factory=dict)
    """The user's options that have no effect, by dotted name, with the value that the engine used, as JSON."""
    _reports: list[ProcessReport] = PrivateAttr(default_factory=list)

    def of_processes(self, reports: list[ProcessReport]) -> EngineFacts:
        """Return the same facts of a start with these processes."""
        facts = self.model_copy()
        facts._reports = reports
        return facts

    @property
    def processes(self) -> list[ProcessReport]:
        """The processes that run the model, one for each rank, in order of rank."""
        ranks = [(report.rank, report) for report in self._reports if report.rank is not None]
        return [report for _, report in sorted(ranks, key=lambda each: each[0])]

    @property
    def counters(self) -> dict[str, int]:
        """`ProcessReport.counters` of the first rank."""
        return self._first.counters

    @property
    def layer_kinds(self) -> list[LayerKind]:
        """`ProcessReport.layer_kinds` of the first rank."""
        return self._first.layer_kinds

    @property
    def layer_configurations(self) -> dict[str, int]:
        """`ProcessReport.layer_configurations` of the first rank."""
        return self._first.layer_configurations

    @property
    def main_model(self) -> str | None:
        """`ProcessReport.main_model` of the first rank."""
        return self._first.main_model

    @property
    def further_models(self) -> list[ModelLayers]:
        """`ProcessReport.further_models` of the first rank."""
        return self._first.further_models

    @property
    def peak_device_memory_bytes(self) -> int | None:
        """The most that PyTorch reserved on a GPU: the largest of all ranks'; None on a CPU."""
        return max((report.peak_device_memory_bytes or 0 for report in self.processes), default=0) or None

    @property
    def _first(self) -> ProcessReport:
        return next(iter(self.processes), ProcessReport())


class StartRecord(BaseModel):
    """One start, finished or not."""

    schema_version: int = SCHEMA_VERSION
    kind: StartKind
    outcome: Outcome
    began: datetime
    seconds: float
    """Wall time of the whole process."""
    side_by_side: int = 1
    """The most starts that ran at one time while this one did, itself among them; its times are under their load."""
    depth: Depth = Depth.FULL
    isolation: IsolationKind = IsolationKind.SPAWN
    phases: list[Phase] = Field(default_factory=list)
    """Where the wall time went: they add up to it."""
    steps: list[Step] = Field(default_factory=list)
    """What the engine announced, in order."""
    engine: str
    device: str
    compilation: str
    environment: dict[str, str]
    """The variables that change compilation, as the start saw them: the user's, and those that gave it its share of the
    machine beside other starts."""
    overridden: list[str]
    """The user's variables, and options by their dotted names, that coldwarm replaced to isolate the start."""
    unknown_cache_variables: list[str] = Field(default_factory=list)
    """The user's variables that look as if they named a cache, and that coldwarm does not know: the start has them."""
    caches_before: dict[str, CacheContent]
    caches_after: dict[str, CacheContent]
    caches_as_left: bool
    """Whether the start began with exactly the files due to it: none when cold, those that cold left when warm."""
    caches_changed: list[FileChange] = Field(default_factory=list)
    """How they differed from those due, where they did."""
    files_written: list[str] = Field(default_factory=list)
    """Files in the caches that the start made or changed, by path below the caches' folder; the first 5000."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The user's options of the engine."""
    processes: list[ProcessReport] = Field(default_factory=list)
    """What was seen in each process of the start that was observed, in the order of `in_order`: the only place for it.
    A process that was killed before it reported is missing."""
    facts: EngineFacts | None = None
    """None where the start did not finish."""
    compiler_work: CompilerWork | None = None
    """None where the start did not finish."""
    changed_outside: list[str] = Field(default_factory=list)
    """Files in the folders where the user's own starts keep caches that changed while the start ran, whoever changed
    them: its child processes are not watched, others may use the same folders. The first 100."""
    not_compared: list[str] = Field(default_factory=list)
    """Of these folders, those that hold too many files to tell."""
    shared_caches_changed: list[str] = Field(default_factory=list)
    """Files in the caches of the process that the start was forked from that are not as they were before the first
    fork: what forked starts write there, they share. The first 100."""
    failure: Failure | None = None

    def model_post_init(self, context: Any) -> None:
        """Have `facts` speak of these processes."""
        self._relate()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; `facts` of the copy speaks of the copy's processes.

        Raises:
            TypeError: `update` names something else than a stored field, for example a property; pydantic would
                ignore that.
        """
        if unknown := (update or {}).keys() - type(self).model_fields.keys():
            raise TypeError(f"not fields of a StartRecord: {', '.join(sorted(unknown))}")
        copied = super().model_copy(update=update, deep=deep)
        copied._relate()
        return copied

    def _relate(self) -> None:
        if self.facts is not None:
            self.facts = self.facts.of_processes(self.processes)

    @property
    def messages(self) -> list[Message]:
        """What all processes logged, each message once."""
        found: list[Message] = []
        for process in self.processes:
            found += [message for message in process.messages if message not in found]
        return found

    @property
    def outside(self) -> OutsideUse:
        """What all processes read and wrote outside of the start's own folders."""
        return combined(process.outside for process in self.processes)

    @property
    def peak_memory_bytes(self) -> int | None:
        """The sum of the peak resident memory of all processes; None: not recorded."""
        return sum(process.peak_memory_bytes or 0 for process in self.processes) or None

    @property
    def missing_bytecode(self) -> MissingBytecode | None:
        """What Python compiled from source in the first process, which the others wait for; None: not recorded."""
        return self.processes[0].missing_bytecode if self.processes else None

    @field_serializer("environment")
    def _environment_without_secrets(self, environment: dict[str, str]) -> dict[str, str]:
        return Secrets(environment).environment(environment)

    @field_serializer("options")
    def _options_without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return Secrets(options).options(options)
