"""Declares what a run breaks as a known issue, with the beginning of its page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.catalog.declared_issues import LINKED_FOLDER, PAGES_IN_CHECKOUT
from coldwarm.checks.run_context import context_of
from coldwarm.core.checks import Check
from coldwarm.core.conditions import Conditions
from coldwarm.core.errors import UsageError
from coldwarm.core.finding import Finding
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.model_entry import KnownIssue
from coldwarm.core.record import StartKind
from coldwarm.engines.base import load_vocabulary
from coldwarm.suite.result import RunResult

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TO_COMPLETE = "_To be completed._"
_NEVER = {
    InvariantId.COMPILES: "a start that compiled nothing proves nothing",
    InvariantId.SAME_OUTPUT: "a wrong artifact may have been loaded",
}


@dataclass(frozen=True)
class IssueSkeleton:
    """A known issue to declare, and the page to complete."""

    issue: KnownIssue
    page: Path | None
    """The file of the page; None: the issue is tracked elsewhere."""
    text: str
    """The beginning of the page."""


def id_and_url(name: str) -> tuple[str, str]:
    """Return the id in ``ID`` or ``ID=URL``, and the URL; empty: there is none.

    Raises:
        UsageError: The id cannot be that of a known issue.
    """
    issue_id, _, url = name.partition("=")
    if not _ID.fullmatch(issue_id):
        raise UsageError(f"--known-issue {name}: an id has lower-case letters, digits, and the characters . _ -")
    return issue_id, url


def issue_from(result: RunResult, name: str, model: CatalogModel) -> tuple[IssueSkeleton | None, list[str]]:
    """Return the known issue that accepts exactly what the failed run `result` breaks; or None, and why there is none.

    Args:
        result: The run.
        name: The id of the issue; followed by ``=URL`` if it is tracked elsewhere.
        model: The model, to whose entry it is added.

    Raises:
        UsageError: The id cannot be that of a known issue.
    """
    issue_id, url = id_and_url(name)
    broken = [check for check in result.verdict.checks if not check.holds and check.accepted_by is None]
    if problems := [problem for check in broken if (problem := _why_not(check, result)) is not None]:
        return None, problems
    assert result.cold is not None and result.cold.facts is not None
    findings = result.findings_on_model
    cold, warm = _symptoms(broken, result)
    issue = KnownIssue(
        id=issue_id,
        title=findings[0].what if findings else broken[0].words.split(" (")[0],
        link=url or f"{_folder_of_link(model)}/{issue_id}.md",
        when=Conditions.of(context_of(result.cold)),
        breaks=tuple(InvariantId(check.id) for check in broken),
        cold=cold,
        warm=warm,
    )
    page = None if url else _folder_of_pages(model) / f"{issue_id}.md"
    return IssueSkeleton(issue, page, _page(issue, broken, findings, result)), []


def _why_not(check: Check, result: RunResult) -> str | None:
    """Return why no known issue of a model can accept a failure; None if one can."""
    if check.id in _NEVER:
        return f"{check.words}: never accepted as known, because {_NEVER[InvariantId(check.id)]}"
    if check.kernels or check.id == InvariantId.READY_NO_COMPILER:
        finding = next((each for each in result.findings_on_model if each.kernel in check.kernels), None)
        by = f"kind {finding.kind}, {finding.where or 'no location'}, {finding.what}" if finding else "none was found"
        return (
            f"{check.words}: no counter identifies kernels; declare an issue of the engine in known_issues.toml, which "
            f"is identified by a finding ({by})"
        )
    assert result.warm is not None and result.warm.facts is not None
    misses = load_vocabulary(result.case.engine).misses
    if check.id == InvariantId.NO_COMPILER and not result.warm.facts.counters.get(misses):
        return f"{check.words}: no counter identifies it, so it has to be declared by hand"
    return None


def _symptoms(broken: Sequence[Check], result: RunResult) -> tuple[dict[str, int], dict[str, int]]:
    """Return the exact counters of the cold and the warm start that identify the failures."""
    names = load_vocabulary(result.case.engine)
    which = {
        InvariantId.ONLY_UNIQUE: (StartKind.COLD, names.saved),
        InvariantId.SAVES_NOTHING: (StartKind.WARM, names.saved),
        InvariantId.LOADS_ALL: (StartKind.WARM, names.loaded),
        InvariantId.NO_COMPILER: (StartKind.WARM, names.misses),
    }
    symptoms: dict[StartKind, dict[str, int]] = {StartKind.COLD: {}, StartKind.WARM: {}}
    for record in (result.cold, result.warm):
        assert record is not None and record.facts is not None
        for check in broken:
            start, name = which[InvariantId(check.id)]
            if start is record.kind:
                symptoms[start][name] = record.facts.counters[name]
    return symptoms[StartKind.COLD], symptoms[StartKind.WARM]


def _folder_of_link(model: CatalogModel) -> str:
    return LINKED_FOLDER if model.is_packaged else "known-issues"


def _folder_of_pages(model: CatalogModel) -> Path:
    """Return the folder of pages: that of this checkout, or one in the user's catalog."""
    return PAGES_IN_CHECKOUT if model.is_packaged else model.path.parent / _folder_of_link(model)


def _page(issue: KnownIssue, broken: Sequence[Check], findings: Sequence[Finding], result: RunResult) -> str:
    counters = [("cold", *each) for each in issue.cold.items()] + [("warm", *each) for each in issue.warm.items()]
    symptoms = [f"`{kind}.{name}` = {count}" for kind, name, count in counters]
    costs = [f"{each.seconds:.1f} s of each {each.start} start" for each in findings if each.seconds is not None]
    rows = {
        "breaks": "; ".join(f"`{check.id}`: {check.words}" for check in broken),
        "conditions": str(issue.when),
        "symptom": ", ".join(symptoms),
        "cost": ", ".join(costs) or "not measured",
    }
    lines = [f"# {issue.id}", "", f"**{issue.title}**", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {_cell(text)} |" for name, text in rows.items()]
    lines += ["", "## Why", ""]
    for finding in findings:
        lines += [_sentence(finding.what)]
        lines += [f"It is caused by `{finding.where}`."] if finding.where else []
        lines += ["", "```python", finding.code, "```"] if finding.code else []
        lines += [""]
    lines += [_TO_COMPLETE, "", "## Evidence", "", f"`{result.reproduce}`, then `coldwarm explain RUN`.", ""]
    details = [f"- {line}" for finding in findings for line in finding.details]
    lines += [*details, ""] if details else []
    lines += ["## Possible fix", ""]
    lines += [_sentence(finding.next) for finding in findings if finding.next] + [_TO_COMPLETE, ""]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
