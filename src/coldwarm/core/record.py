"""The record of one start: all that a verdict or an explanation may want to know, as plain data."""

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
    """As `EngineFacts.layer_configurations`; empty: no layers were found."""


class GeneratedToken(BaseModel):
    """One greedily generated token."""

    token_id: int
    logprobs: dict[int, float | None]
    """Natural logarithms by token id, the likeliest and the generated one; None: not a number."""


class ProcessReport(BaseModel):
    """What was seen from within one process that runs the model: a rank of a start."""

    pid: int
    role: str = "worker"
    """What the engine has the process do."""
    rank: int
    """Its number among all that run the model together, from 0."""
    counters: dict[str, int]
    """How far each counter rose during the start, by flat name."""
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
    """What the process read and wrote outside of the start's own folders."""
    peak_memory_bytes: int | None = None
    """Peak resident memory."""
    peak_device_memory_bytes: int | None = None
    """The most that PyTorch reserved on the GPU; None on a CPU."""


class EngineFacts(BaseModel):
    """What the engine knows of a start that went through; written by the worker."""

    versions: dict[str, str]
    """By distribution name; ``python`` too."""
    hardware: dict[str, str]
    aot_artifact: str | None = None
    """``bundled`` or ``separate``, as the engine had it; None: not recorded."""
    counters: dict[str, int]
    """How far each counter rose during the start, by flat name; of several ranks, the first one's."""
    layer_kinds: list[LayerKind]
    """Derived from the layers of the model that was started: of the main one if several models are compiled, and of
    the first rank's part of it if there are several."""
    layer_configurations: dict[str, int] = Field(default_factory=dict)
    """For each layer, by its path as graphs spell it (``modules_layers_modules_3``), the number of its configuration:
    the same for layers that differ in nothing but their weights; empty: not recorded, or no layers were found."""
    main_model: str | None = None
    """What the engine calls the main model among those that it compiles (vLLM: ``backbone``); None: not recorded."""
    further_models: list[ModelLayers] = Field(default_factory=list)
    """The models that the engine compiles beside the main one, by name; empty: none, or not recorded."""
    prompt_token_ids: list[int]
    generated: list[GeneratedToken]
    generated_again: list[GeneratedToken] = Field(default_factory=list)
    """From the same prompt a second time, to tell an engine that does not repeat itself; empty: not recorded."""
    ineffective_options: dict[str, str] = Field(default_factory=dict)
    """The user's options that have no effect, by dotted name, with the value that the engine used, as JSON."""
    peak_device_memory_bytes: int | None = None
    """The most that PyTorch reserved on the GPU; None on a CPU. Of several ranks, the largest."""
    processes: list[ProcessReport] = Field(default_factory=list)
    """The processes that run the model, one for each rank, in order; empty: not recorded, and there was one."""


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
    messages: list[Message] = Field(default_factory=list)
    facts: EngineFacts | None = None
    """None where the start did not finish."""
    compiler_work: CompilerWork | None = None
    """None where the start did not finish."""
    peak_memory_bytes: int | None = None
    """Peak resident memory of the worker process; with several ranks, the sum over their processes."""
    missing_bytecode: MissingBytecode | None = None
    """What Python compiled from source until the start's end, in the process that it was forked from too; None: not
    recorded."""
    outside: OutsideUse = Field(default_factory=OutsideUse)
    """What the start's process read and wrote outside of its own folders."""
    changed_outside: list[str] = Field(default_factory=list)
    """Files in the folders where the user's own starts keep caches that changed while the start ran, whoever changed
    them: its child processes are not watched, others may use the same folders. The first 100."""
    not_compared: list[str] = Field(default_factory=list)
    """Of these folders, those that hold too many files to tell."""
    shared_caches_changed: list[str] = Field(default_factory=list)
    """Files in the caches of the process that the start was forked from that are not as they were before the first
    fork: what forked starts write there, they share. The first 100."""
    failure: Failure | None = None

    @field_serializer("environment")
    def _environment_without_secrets(self, environment: dict[str, str]) -> dict[str, str]:
        return Secrets(environment).environment(environment)

    @field_serializer("options")
    def _options_without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return Secrets(options).options(options)
