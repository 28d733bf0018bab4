"""One explained cause, with its evidence."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from coldwarm.core.record import StartKind


class FindingKind(StrEnum):
    """What was found, by what it means."""

    NOT_SHARED = "not shared"
    """Subgraphs of the same kind were compiled apart."""
    KEY_CHANGED = "key changed"
    """A part of a cache key was another one in the warm start."""
    LOAD_FAILED = "load failed"
    """What had been saved was there, and the engine could not load it."""
    CACHE_DAMAGED = "cache damaged"
    """Files of the cache were not as the cold start had left them."""
    NEVER_SAVED = "never saved"
    """The cold start left nothing to load."""
    COMPILED_OUTSIDE = "compiled outside"
    """A torch.compile beside the engine's own compilation missed its cache."""
    LOADED_UNSEEN = "loaded unseen"
    """Something was loaded from a cache that the engine's counters do not count."""
    TUNED_AGAIN = "tuned again"
    """The warm start chose configurations of kernels anew."""
    IMPORTED_FROM_SOURCE = "imported from source"
    """Python found no bytecode of modules: of the machine, whatever the model."""
    UNEXPLAINED = "unexplained"
    """Something was compiled, and nothing that was recorded tells why."""


class Evidence(BaseModel):
    """Where to look."""

    file: str
    """Below the run's folder."""
    record: str
    """A line number, or the name of an entry; with what stands there."""


class Finding(BaseModel):
    """One cause."""

    kind: FindingKind
    start: StartKind
    """The start that it costs time."""
    what: str
    where: str | None = None
    """The line of code that it comes from, as ``file:line``."""
    code: str | None = None
    """What stands on that line."""
    details: list[str] = Field(default_factory=list)
    evidence: list[Evidence] = Field(default_factory=list)
    seconds: float | None = None
    """What it costs each such start, as measured in this one; None: unknown, or `shares_cost`. No second of a start is
    in more than one finding."""
    shares_cost: bool = False
    """Whether it led to the recompilation whose cost a finding above has: they cannot be measured separately."""
    extra_artifacts: int = 0
    """Of `FindingKind.NOT_SHARED`: how many artifacts fewer there would be without the difference that `what` names; 0:
    none is named, or it was not recorded."""
    next: str | None = None
    """What to try."""
