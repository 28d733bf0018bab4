"""Known issues of the engine, declared once in ``known_issues.toml`` for all models."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from coldwarm.core.conditions import Platform
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.strict_model import StrictModel

ENGINE_ISSUES = Path(__file__).parent / "known_issues.toml"


def _valid_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


_OF_KERNELS = (FindingKind.KERNEL_RECOMPILED, FindingKind.KERNEL_REPEATED, FindingKind.COMPILED_AFTER_READY)


class FindingPattern(StrictModel):
    """A pattern of the finding that identifies an issue."""

    kind: FindingKind
    where: Annotated[str, Field(min_length=1)]
    """A pattern for the line of code, for example ``*/fused_moe/modular_kernel.py:*``."""
    what: Annotated[str, Field(min_length=1), AfterValidator(_valid_pattern)]
    """A regular expression that must be found in the message of the finding and in each of its details. A finding with
    an additional cause does not match."""

    def matches(self, finding: Finding) -> bool:
        """Return whether `finding` has this cause and no other."""
        return (
            finding.kind is self.kind
            and fnmatchcase(finding.where or "", self.where)
            and all(re.search(self.what, text) for text in (finding.what, *finding.details))
        )


class EngineIssue(StrictModel):
    """A failure of the engine that is tracked elsewhere, with the finding that identifies it in any model."""

    id: str
    title: str
    link: str
    """The URL of an issue, or a page: in this repository, or for a user's model relative to its file."""
    when: Platform
    breaks: Literal[InvariantId.ONLY_UNIQUE, InvariantId.NO_COMPILER, InvariantId.READY_NO_COMPILER]
    """The invariant that it breaks; for these, findings show how many artifacts or keys of kernels they account for."""
    finding: FindingPattern

    @property
    def is_about_kernels(self) -> bool:
        """Whether its findings account for kernels, not for artifacts or misses, which counters show."""
        return self.finding.kind in _OF_KERNELS


class _File(StrictModel):
    known_issue: tuple[EngineIssue, ...]


@cache
def engine_issues() -> tuple[EngineIssue, ...]:
    """Return the known issues of the engine, in the order of the file."""
    return _File.model_validate(tomllib.loads(ENGINE_ISSUES.read_text(encoding="utf-8"))).known_issue
