"""The result of checking one thing."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Check(BaseModel):
    """An invariant or an expectation, checked against two start records."""

    id: str
    """An `InvariantId`, or ``expected:`` and the start and counter."""
    holds: bool
    words: str
    """What was checked and seen, in one sentence."""
    evidence: list[str] = Field(default_factory=list)
    """Lines of the log, or numbers, that show it."""
    accepted_by: str | None = None
    """The id of the known issue that accepts this failure."""
    is_checked: bool = True
    """False: nothing that was recorded can decide it. It does not fail then, and a note says so."""
    artifacts_over_limit: int = 0
    """Of `InvariantId.ONLY_UNIQUE`: how many more artifacts there are than the limit allows."""
