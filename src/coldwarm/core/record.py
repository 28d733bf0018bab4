"""The record of one start: the data for verdicts and explanations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, PrivateAttr, field_serializer

from coldwarm.core.cache_files import CacheContent, FileChange
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.compiler_work import CompilerWork
from coldwarm.core.deferred_model import DeferredModel
from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.kernels import KernelEvent, KernelEvents
from coldwarm.core.phases import Phase, Step
from coldwarm.core.secrets import Secrets
from coldwarm.core.seen_in_process import LongCall, MissingBytecode, OutsideUse, combined

SCHEMA_VERSION = 2

WHOLE_PROCESS = "process"
"""The key in `ProcessReport.failed_probes` if a process could not be observed at all."""


class StartKind(StrEnum):
    """The kind of a start."""

    COLD = "cold"
    WARM = "warm"


class Outcome(StrEnum):
    """How a start ended."""

    FINISHED = "finished"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"


class Message(DeferredModel):
    """A warning or an error that the engine or the compiler logged."""

    logger: str
    level: str
    text: str
    exception: str | None = None
    """The type and the message of the exception that was logged with it."""


class Failure(DeferredModel):
    """Why a start did not finish."""

    what: str
    """A message of one line."""
    phase: str | None = None
    """The phase in which it failed."""
    exception: str | None = None
    """The exception's type."""
    traceback: str | None = None
    signal: str | None = None
    """The signal that ended the process."""
    log_tail: list[str] = Field(default_factory=list)
    """The last lines of the start's log."""


class LayerKind(DeferredModel):
    """Layers of one class whose parameters have the same names, shapes and types."""

    layer_class: str
    layers: int
    parameters: int
    """The number of parameter tensors in one such layer."""


class ModelLayers(DeferredModel):
    """The layers of a further model that the engine compiles: a drafter, an encoder."""

    name: str
    """The engine's name for it, as in `CompiledGraph.name`."""
    layer_kinds: list[LayerKind] = Field(default_factory=list)
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """See `ProcessReport.layer_configurations`; empty: no layers were found."""
    modules: int = 1
    """How many modules the engine compiles one by one under this name, such as the blocks of an encoder."""


class GeneratedToken(DeferredModel):
    """One greedily generated token."""

    token_id: int
    logprobs: dict[int, float | None]
    """Natural logarithms by token id, of the likeliest tokens and the generated one; None: not a number."""


class Program(DeferredModel):
    """The program that a process of a user's command runs."""

    command: str
    """Its command line, in one line, without secrets."""
    engine: str
    """The engine that it uses; ``torch`` if it uses none."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions by distribution name, and of ``python``."""
    hardware: dict[str, str] = Field(default_factory=dict)
    aot_artifact: str | None = None
    """See `EngineFacts.aot_artifact`."""


class ProcessReport(DeferredModel):
    """Observations from within one process of a start."""

    pid: int | None = None
    """None: not recorded."""
    parent_pid: int | None = None
    """The process that created it; None: not recorded."""
    role: str = "worker"
    """The role of the process in the engine: a ``worker`` runs the model."""
    rank: int | None = None
    """Its rank among the processes that run the model, from 0; None: it does not run the model."""
    counters: dict[str, int] = Field(default_factory=dict)
    """The increase of each counter during the start, by flat name."""
    layer_kinds: list[LayerKind] = Field(default_factory=list)
    """Derived from the layers of the main model, of the rank's part of it."""
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """The number of each layer's configuration, by the layer's path as in graphs (``modules_layers_modules_3``). Layers
    that differ only in their weights have the same number. Empty: not recorded, or no layers were found."""
    main_model: str | None = None
    """The engine's name for the main model (vLLM: ``backbone``); None: not recorded."""
    further_models: list[ModelLayers] = Field(default_factory=list)
    """Further models that the engine compiles, by name; empty: none, or not recorded."""
    messages: list[Message] = Field(default_factory=list)
    """Warnings and errors of the engine and the compiler."""
    outside: OutsideUse = Field(default_factory=OutsideUse)
    """Files outside of the start's own folders that the process read or wrote."""
    missing_bytecode: MissingBytecode | None = None
    """Modules without cached bytecode that were imported since the probe was installed, in the process or in the one
    from which it was forked; None: not recorded."""
    keys_digest: str | None = None
    """Identifies the components of all cache keys that the process computed; None: it computed none, or not
    recorded."""
    cache_keys: CacheKeys | None = None
    """These components, as the process reports them. None in a stored record: those of the first rank, and of each rank
    with others, have a file."""
    is_warmed_up: bool | None = None
    """Whether the engine has warmed up in the process; None: not recorded."""
    kv_cache_blocks: int | None = None
    """The blocks of the KV cache that the engine allocated in the process; None: it allocated none, or not recorded."""
    peak_memory_bytes: int | None = None
    """Peak resident memory."""
    peak_device_memory_bytes: int | None = None
    """Peak GPU memory reserved by PyTorch; None on a CPU."""
    torch_compile: str | None = None
    """Why the engine compiles no part of the process's models with torch.compile; None: it does, or not recorded."""
    kernels: KernelEvents | None = None
    """What kernel compilers did in the process; None: not recorded."""
    program: Program | None = None
    """What the process runs; None: not recorded, as in starts that are not those of a command."""
    long_calls: list[LongCall] = Field(default_factory=list)
    """Calls of the main thread that took long, in a start on a GPU; at most the first `MOST_LONG_CALLS`."""
    failed_probes: dict[str, str] = Field(default_factory=dict)
    """The errors of probes that failed, by the probe's name: what they report is missing or incomplete."""


def in_order(reports: Iterable[ProcessReport]) -> list[ProcessReport]:
    """Return the reports with each process after the one that created it, and ranks in order."""
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


class EngineFacts(DeferredModel):
    """The engine's data on a finished start, written by the worker.

    Observations from within processes are in `StartRecord.processes`. The properties are shorthands for those of the
    first rank, unless their documentation says otherwise.
    """

    versions: dict[str, str]
    """Versions by distribution name, and of ``python``."""
    hardware: dict[str, str]
    aot_artifact: str | None = None
    """``bundled`` or ``separate``, as used by the engine; None: not recorded."""
    ranks: int | None = None
    """The number of processes that run the model, each of which must have a report; None: not recorded."""
    prompt_token_ids: list[int]
    generated: list[GeneratedToken]
    generated_again: list[GeneratedToken] = Field(default_factory=list)
    """Generated from the same prompt a second time, to detect nondeterminism; empty: not recorded."""
    ineffective_options: dict[str, str] = Field(default_factory=dict)
    """The user's options without effect, by dotted name, with the value that the engine used, as JSON."""
    _reports: list[ProcessReport] = PrivateAttr(default_factory=list)

    def of_processes(self, reports: list[ProcessReport]) -> EngineFacts:
        """Return a copy of the facts for a start with these processes."""
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
    def torch_compile(self) -> str | None:
        """`ProcessReport.torch_compile` of the first rank."""
        return self._first.torch_compile

    @property
    def peak_device_memory_bytes(self) -> int | None:
        """Peak GPU memory reserved by PyTorch; None on a CPU. With several ranks, the largest."""
        return max((report.peak_device_memory_bytes or 0 for report in self.processes), default=0) or None

    @property
    def _first(self) -> ProcessReport:
        return next(iter(self.processes), ProcessReport())


class StartRecord(DeferredModel):
    """One start, finished or not."""

    schema_version: int = SCHEMA_VERSION
    kind: StartKind
    outcome: Outcome
    began: datetime
    seconds: float
    """Wall time of the whole process."""
    cpu_seconds: float | None = None
    """User and system time of all processes of the start; None: not recorded."""
    side_by_side: int = 1
    """The most starts, including this one, that ran in parallel with it, which affects its timings."""
    depth: Depth = Depth.FULL
    isolation: IsolationKind = IsolationKind.SPAWN
    not_forked: str | None = None
    """Why it was spawned, although starts were to be forked; None: it was created as it was to be."""
    phases: list[Phase] = Field(default_factory=list)
    """The phases, which add up to the wall time."""
    steps: list[Step] = Field(default_factory=list)
    """The steps that the engine announced, in order."""
    engine: str
    device: str
    compilation: str
    command: list[str] = Field(default_factory=list)
    """The user's command, without secrets; empty: coldwarm's worker started the model."""
    environment: dict[str, str]
    """The start's variables that affect compilation: the user's, and those that assign cores to parallel starts."""
    overridden: list[str]
    """The user's variables, and options by their dotted names, that coldwarm replaced to isolate the start."""
    unknown_cache_variables: list[str] = Field(default_factory=list)
    """The user's variables that look like paths of caches unknown to coldwarm; the start used them."""
    caches_before: dict[str, CacheContent]
    caches_after: dict[str, CacheContent]
    caches_as_left: bool
    """Whether the start began with exactly the expected files: none if cold, those of the cold start if warm."""
    caches_changed: list[FileChange] = Field(default_factory=list)
    """How the files differed from the expected ones."""
    files_written: list[str] = Field(default_factory=list)
    """Files in the caches that the start created or changed, by path relative to the caches' folder; the first 5000."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The user's options of the engine."""
    processes: list[ProcessReport] = Field(default_factory=list)
    """The report of each observed process, in the order of `in_order`: the only place for what was observed within
    processes. A process that was killed before it reported is missing."""
    facts: EngineFacts | None = None
    """None if the start did not finish."""
    kernels_by_files: list[KernelEvent] = Field(default_factory=list)
    """Kernels of compilers without a hook, which the start compiled, from the files that it wrote in its caches."""
    compiler_work: CompilerWork | None = None
    """None if the start did not finish."""
    changed_outside: list[str] = Field(default_factory=list)
    """Files in the user's own caches that changed while the start ran; the first 100. The cause is unknown: child
    processes of the start are not observed, and other processes may use the same folders."""
    not_compared: list[str] = Field(default_factory=list)
    """Folders of the user's own caches with too many files to check for changes."""
    shared_caches_changed: list[str] = Field(default_factory=list)
    """Files that changed, since the first fork, in the caches of the process from which the start was forked. Forked
    starts share these caches. The first 100."""
    failure: Failure | None = None

    def model_post_init(self, context: Any) -> None:
        """Relate `facts` to the processes."""
        self._relate()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the record, and relate the `facts` of the copy to the processes of the copy.

        Raises:
            TypeError: `update` names something that is not a field, such as a property, which pydantic would ignore.
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
        """The messages of all processes, without duplicates."""
        found: list[Message] = []
        for process in self.processes:
            found += [message for message in process.messages if message not in found]
        return found

    @property
    def outside(self) -> OutsideUse:
        """Files outside of the start's own folders that any process read or wrote."""
        return combined(process.outside for process in self.processes)

    @property
    def peak_memory_bytes(self) -> int | None:
        """The sum of the peak resident memory of all processes; None: not recorded."""
        return sum(process.peak_memory_bytes or 0 for process in self.processes) or None

    @property
    def missing_bytecode(self) -> MissingBytecode | None:
        """`ProcessReport.missing_bytecode` of the first process, which creates the others; None: not recorded."""
        return self.processes[0].missing_bytecode if self.processes else None

    @field_serializer("environment")
    def _environment_without_secrets(self, environment: dict[str, str]) -> dict[str, str]:
        return Secrets(environment).environment(environment)

    @field_serializer("options")
    def _options_without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return Secrets(options).options(options)
