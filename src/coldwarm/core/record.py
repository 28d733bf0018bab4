"""The record of one start: the data for verdicts and explanations."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field, field_serializer

from coldwarm.core.cache_files import CacheContent, FileChange
from coldwarm.core.compiler_work import CompilerWork
from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import Phase, Step
from coldwarm.core.secrets import Secrets
from coldwarm.core.seen_in_process import MissingBytecode, OutsideUse

SCHEMA_VERSION = 1


class StartKind(StrEnum):
    """The kind of a start."""

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


class LayerKind(BaseModel):
    """Layers of one class whose parameters have the same names, shapes and types."""

    layer_class: str
    layers: int
    parameters: int
    """The number of parameter tensors in one such layer."""


class ModelLayers(BaseModel):
    """The layers of a further model that the engine compiles: a drafter, an encoder."""

    name: str
    """The engine's name for it, as in `CompiledGraph.name`."""
    layer_kinds: list[LayerKind] = Field(default_factory=list)
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """See `EngineFacts.layer_configurations`; empty: no layers were found."""


class GeneratedToken(BaseModel):
    """One greedily generated token."""

    token_id: int
    logprobs: dict[int, float | None]
    """Natural logarithms by token id, of the likeliest tokens and the generated one; None: not a number."""


class ProcessReport(BaseModel):
    """Observations from within one process that runs the model: a rank of a start."""

    pid: int
    role: str = "worker"
    """The role of the process in the engine."""
    rank: int
    """Its rank among the processes that run the model, from 0."""
    counters: dict[str, int]
    """The increase of each counter during the start, by flat name."""
    layer_kinds: list[LayerKind] = Field(default_factory=list)
    """Derived from the layers of the rank's part of the model."""
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """See `EngineFacts.layer_configurations`."""
    main_model: str | None = None
    """See `EngineFacts.main_model`."""
    further_models: list[ModelLayers] = Field(default_factory=list)
    """See `EngineFacts.further_models`."""
    messages: list[Message] = Field(default_factory=list)
    outside: OutsideUse = Field(default_factory=OutsideUse)
    """Files outside of the start's own folders that the process read or wrote."""
    peak_memory_bytes: int | None = None
    """Peak resident memory."""
    peak_device_memory_bytes: int | None = None
    """Peak GPU memory reserved by PyTorch; None on a CPU."""


class EngineFacts(BaseModel):
    """The engine's data on a finished start, written by the worker."""

    versions: dict[str, str]
    """Versions by distribution name, and of ``python``."""
    hardware: dict[str, str]
    aot_artifact: str | None = None
    """``bundled`` or ``separate``, as used by the engine; None: not recorded."""
    counters: dict[str, int]
    """The increase of each counter during the start, by flat name; with several ranks, in the first."""
    layer_kinds: list[LayerKind]
    """Derived from the layers of the main model; with several ranks, from the first rank's part of it."""
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """The number of each layer's configuration, by the layer's path as in graphs (``modules_layers_modules_3``). Layers
    that differ only in their weights have the same number. Empty: not recorded, or no layers were found."""
    main_model: str | None = None
    """The engine's name for the main model (vLLM: ``backbone``); None: not recorded."""
    further_models: list[ModelLayers] = Field(default_factory=list)
    """Further models that the engine compiles, by name; empty: none, or not recorded."""
    prompt_token_ids: list[int]
    generated: list[GeneratedToken]
    generated_again: list[GeneratedToken] = Field(default_factory=list)
    """Generated from the same prompt a second time, to detect nondeterminism; empty: not recorded."""
    ineffective_options: dict[str, str] = Field(default_factory=dict)
    """The user's options without effect, by dotted name, with the value that the engine used, as JSON."""
    peak_device_memory_bytes: int | None = None
    """Peak GPU memory reserved by PyTorch; None on a CPU. With several ranks, the largest."""
    processes: list[ProcessReport] = Field(default_factory=list)
    """The processes that run the model, one for each rank, in order; empty: not recorded (there was one)."""


class StartRecord(BaseModel):
    """One start, finished or not."""

    schema_version: int = SCHEMA_VERSION
    kind: StartKind
    outcome: Outcome
    began: datetime
    seconds: float
    """Wall time of the whole process."""
    side_by_side: int = 1
    """The most starts, including this one, that ran in parallel with it, which affects its timings."""
    depth: Depth = Depth.FULL
    isolation: IsolationKind = IsolationKind.SPAWN
    phases: list[Phase] = Field(default_factory=list)
    """The phases, which add up to the wall time."""
    steps: list[Step] = Field(default_factory=list)
    """The steps that the engine announced, in order."""
    engine: str
    device: str
    compilation: str
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
    messages: list[Message] = Field(default_factory=list)
    facts: EngineFacts | None = None
    """None if the start did not finish."""
    compiler_work: CompilerWork | None = None
    """None if the start did not finish."""
    peak_memory_bytes: int | None = None
    """Peak resident memory of the worker process; with several ranks, the sum over their processes."""
    missing_bytecode: MissingBytecode | None = None
    """Modules without cached bytecode, in the start and in the process from which it was forked; None: not recorded."""
    outside: OutsideUse = Field(default_factory=OutsideUse)
    """Files outside of the start's own folders that its process read or wrote."""
    changed_outside: list[str] = Field(default_factory=list)
    """Files in the user's own caches that changed while the start ran; the first 100. The cause is unknown: child
    processes of the start are not observed, and other processes may use the same folders."""
    not_compared: list[str] = Field(default_factory=list)
    """Folders of the user's own caches with too many files to check for changes."""
    shared_caches_changed: list[str] = Field(default_factory=list)
    """Files that changed, since the first fork, in the caches of the process from which the start was forked. Forked
    starts share these caches. The first 100."""
    failure: Failure | None = None

    @field_serializer("environment")
    def _environment_without_secrets(self, environment: dict[str, str]) -> dict[str, str]:
        return Secrets(environment).environment(environment)

    @field_serializer("options")
    def _options_without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return Secrets(options).options(options)
