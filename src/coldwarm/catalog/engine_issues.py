"""Known issues of the engine: stated once, in ``known_issues.toml``, for every model that shows them."""

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


class FindingPattern(StrictModel):
    """What the finding that explains an issue looks like."""

    kind: FindingKind
    where: Annotated[str, Field(min_length=1)]
    """A pattern of the line of code, for example ``*/fused_moe/modular_kernel.py:*``."""
    what: Annotated[str, Field(min_length=1), AfterValidator(_valid_pattern)]
    """A regular expression that is found in what the finding says, and in each of its details: a finding with another
    cause beside this one does not match."""

    def matches(self, finding: Finding) -> bool:
        """Whether `finding` is of this cause, and of no other."""
        return (
            finding.kind is self.kind
            and fnmatchcase(finding.where or "", self.where)
            and all(re.search(self.what, text) for text in (finding.what, *finding.details))
        )


class EngineIssue(StrictModel):
    """A failure of the engine that is tracked elsewhere, and the finding by which it is recognized in any model."""

    id: str
    title: str
    link: str
    """An issue's address, or a page of this repository."""
    when: Platform
    breaks: Literal[InvariantId.ONLY_UNIQUE]
    """The invariant that it breaks: the one of which findings say how many artifacts they account for."""
    finding: FindingPattern


class _File(StrictModel):
    known_issue: tuple[EngineIssue, ...]


@cache
def engine_issues() -> tuple[EngineIssue, ...]:
    """Return the known issues of the engine, in the order of the file."""
    return _File.model_validate(tomllib.loads(ENGINE_ISSUES.read_text(encoding="utf-8"))).known_issue
