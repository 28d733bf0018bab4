"""A finding: one cause, with its evidence."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, Field, model_validator

from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.record import StartKind

_MISSES = re.compile(r"missed the AOTAutograd cache \((\d+) of ")


class FindingKind(StrEnum):
    """The kinds of findings."""

    NOT_SHARED = "not shared"
    """Subgraphs of the same part of the model were compiled separately."""
    KEY_CHANGED = "key changed"
    """A component of a cache key changed in the warm start."""
    LOAD_FAILED = "load failed"
    """The engine failed to load a saved artifact."""
    CACHE_DAMAGED = "cache damaged"
    """Cache files changed after the cold start."""
    NEVER_SAVED = "never saved"
    """The cold start saved nothing to load."""
    COMPILED_OUTSIDE = "compiled outside"
    """A torch.compile outside of the engine's own compilation missed its cache."""
    LOADED_UNSEEN = "loaded unseen"
    """There was a hit in a cache that the engine's counters do not track."""
    TUNED_AGAIN = "tuned again"
    """The warm start re-autotuned kernels."""
    KERNEL_RECOMPILED = "kernel recompiled"
    """A kernel compiler compiled a kernel in the warm start."""
    COMPILED_AFTER_READY = "compiled after ready"
    """A kernel, or a function given to torch.compile, was compiled after the engine was ready for requests."""
    KERNEL_REPEATED = "kernel repeated"
    """A kernel compiler compiled the same key more than once in the cold start."""
    KEYS_BY_LAYER = "keys by layer"
    """A kernel was compiled with as many keys as the model has layers."""
    IMPORTED_FROM_SOURCE = "imported from source"
    """Modules had no cached bytecode; this concerns the machine, not the model."""
    RANKS_DISAGREE = "ranks disagree"
    """Ranks that run the same part of the model compiled, saved or loaded differently, or have different keys."""
    KV_CACHE_SMALLER = "KV cache smaller"
    """The KV cache is smaller after the cold start than after the warm one."""
    UNEXPLAINED = "unexplained"
    """Something was compiled, and the records do not show why."""


class Evidence(BaseModel):
    """The location of evidence."""

    file: str
    """Path in the run's folder."""
    record: str
    """A line number or the name of an entry, with its content."""


class Finding(BaseModel):
    """One cause of a problem."""

    kind: FindingKind
    start: StartKind
    """The start whose time it costs."""
    what: str
    """The message."""
    where: str | None = None
    """The line of code that causes it, as ``file:line``."""
    code: str | None = None
    """The code on that line."""
    details: list[str] = Field(default_factory=list)
    evidence: list[Evidence] = Field(default_factory=list)
    seconds: float | None = None
    """The seconds that it costs in each such start, measured in this one; None: unknown, or `shares_cost`. No second of
    a start is counted in more than one finding."""
    shares_cost: bool = False
    """Whether the cost is included in that of an earlier finding: both led to the same recompilation."""
    extra_artifacts: int = 0
    """For `FindingKind.NOT_SHARED`: how many fewer artifacts there would be without the difference named in `what`; 0:
    none is named, or it was not recorded."""
    model: int | None = None
    """For `FindingKind.NOT_SHARED`: the number of the compiled model, from 0, in the order of compilation; None: not
    recorded."""
    misses: int = 0
    """For `FindingKind.COMPILED_OUTSIDE`: how many compilations missed AOTAutograd's cache. Explanations that were
    stored without it have it in the message."""
    kernel: str | None = None
    """The kernel that it is about, by compiler and name (``CuTe DSL LLFp32WGemm``); None: about no single kernel."""
    keys: int = 0
    """With how many keys `kernel` was compiled for this reason, in the rank with the most."""
    changed: ChangedFactor | None = None
    """For `FindingKind.KEY_CHANGED`: the component of the key, with both values; None: not recorded."""
    next: str | None = None
    """A possible fix."""

    @model_validator(mode="after")
    def _misses_of_message(self) -> Self:
        if self.kind is FindingKind.COMPILED_OUTSIDE and not self.misses and (found := _MISSES.search(self.what)):
            self.misses = int(found[1])
        return self
