"""Formats findings as plain lines of text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from coldwarm.core.finding import Finding, FindingKind

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def short_lines(findings: Iterable[Finding]) -> list[str]:
    """Return each finding on the model in one or two lines."""
    lines = []
    for finding in findings:
        if finding.kind is FindingKind.IMPORTED_FROM_SOURCE:  # about the machine: a footnote reports it once
            continue
        lines.append(f"why: {finding_in_one_line(finding)}")
        if finding.where:
            lines.append(f"     at {_where(finding)}")
    return [as_one_line(line) for line in lines]


def finding_in_one_line(finding: Finding) -> str:
    """Return the message of a finding, with its cost."""
    return f"{finding.what}{_cost(finding)}"


def finding_lines(finding: Finding) -> list[str]:
    """Return a finding in full."""
    lines = [f"{finding.kind}, {finding.start}: {finding_in_one_line(finding)}"]
    if finding.where:
        lines.append(f"location: {_where(finding)}")
    lines += finding.details
    lines += [f"evidence: {evidence.file}: {evidence.record}" for evidence in finding.evidence]
    if finding.next:
        lines.append(f"possible fix: {finding.next}")
    return [as_one_line(line) for line in lines]


def as_one_line(text: str) -> str:
    """Return `text` without line breaks, terminal escape sequences and control characters."""
    return _CONTROL.sub("", _ESCAPE.sub("", " ".join(text.splitlines())))


def _where(finding: Finding) -> str:
    return f"{finding.where}" + (f": {finding.code}" if finding.code else "")


def _cost(finding: Finding) -> str:
    if finding.shares_cost:
        return " (same recompilation as above; its cost is counted there)"
    return "" if finding.seconds is None else f" ({finding.seconds:.1f} s per {finding.start} start)"
