"""The result of a check."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Check(BaseModel):
    """The result of checking an invariant or an expectation against two start records."""

    id: str
    """An `InvariantId`, or ``expected:START:COUNTER``."""
    holds: bool
    """Whether the check passed."""
    words: str
    """The message: what was found and what was expected."""
    evidence: list[str] = Field(default_factory=list)
    """Lines of the log that support the message."""
    accepted_by: str | None = None
    """The id of the known issue that accepts this failure."""
    is_checked: bool = True
    """False: the records are not sufficient to decide. The check then passes, and a note reports it."""
    artifacts_over_limit: int = 0
    """For `InvariantId.ONLY_UNIQUE`: the number of artifacts above the limit."""
