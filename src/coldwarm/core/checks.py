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
    accepted_in_part_by: list[str] = Field(default_factory=list)
    """The ids of known issues that accept only a part of this failure. If all parts are accepted, `accepted_by` is the
    first of them."""
    is_checked: bool = True
    """False: the records are not sufficient to decide. The check then passes, and a note reports it."""
    artifacts_over_limit: int = 0
    """For `InvariantId.ONLY_UNIQUE`: the number of artifacts above the limit."""
    misses: int = 0
    """For `InvariantId.NO_COMPILER`: the misses in AOTAutograd's cache; 0: there are none, or torch.compile broke it in
    another way, too."""
    kernels: dict[str, int] = Field(default_factory=dict)
    """The kernels that broke it, by compiler and name (``CuTe DSL LLFp32WGemm``), with the number of their keys."""
    only_kernels: bool = False
    """Whether nothing but `kernels` broke it."""

    @property
    def accepting(self) -> list[str]:
        """The ids of the known issues that together accept this failure; empty: none do."""
        return [self.accepted_by, *self.accepted_in_part_by] if self.accepted_by is not None else []

    @property
    def is_broken_otherwise(self) -> bool:
        """Whether something else than `kernels` broke it."""
        return not self.holds and not self.only_kernels
