"""Renders the report: one file with its style sheet and script, which may load nothing else."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Self

from jinja2 import Environment, PackageLoader, StrictUndefined

from coldwarm import __version__
from coldwarm.checks.verdict import Status
from coldwarm.core.record import StartRecord
from coldwarm.core.stats import LayerCounts
from coldwarm.engines.base import load_vocabulary
from coldwarm.report.html.run_page import SEVERITY, RunPage, longest_start, records_of
from coldwarm.report.html.text import is_web_link, short_place, visible
from coldwarm.report.summary import RunSummary, SuiteSummary

_MARKS = {
    Status.PASSED: "✓",
    Status.KNOWN_ISSUE: "!",
    Status.UNSUPPORTED: "-",
    Status.FAILED: "✕",
    Status.UNEXPECTEDLY_FIXED: "↑",
    Status.ERROR: "✕",
}
"""Marks of statuses, so that they do not depend on colours."""


@dataclass(frozen=True)
class Machine:
    """What a suite ran on and with."""

    began: str
    """The date and the time of the first start, in UTC; empty: nothing was started."""
    hardware: str
    versions: list[str]

    @classmethod
    def of(cls, runs: Sequence[RunSummary]) -> Self:
        """Return what the runs ran on and with, from the first start that recorded it."""
        records = [record for run in runs for record in records_of(run)]
        began = min((record.began for record in records), default=None)
        first: StartRecord | None = next((record for record in records if record.facts is not None), None)
        facts = first.facts if first is not None else None
        hardware = facts.hardware if facts is not None else {}
        shown = [hardware.get("gpu") or hardware.get("cpu") or hardware.get("machine", "")]
        if (cores := hardware.get("cores")) is not None:
            shown.append(f"{cores} core{'' if cores == '1' else 's'}")
        engine = {first.engine: load_vocabulary(first.engine).title} if first is not None else {}
        titles = {**engine, "torch": "torch", "python": "Python"}
        versions = facts.versions if facts is not None else {}
        return cls(
            began=f"{began:%-d %B %Y, %H:%M} UTC" if began is not None else "",
            hardware=", ".join(filter(None, shown)),
            versions=[f"{title} {versions[name]}" for name, title in titles.items() if name in versions],
        )


@dataclass(frozen=True)
class SuiteSection:
    """One suite of the report."""

    name: str
    """Empty: it is the only one."""
    headline: str
    machine: Machine
    runs: list[RunPage]
    footnotes: list[str]


def render_suite(summary: SuiteSummary) -> str:
    """Return the report on a suite as HTML."""
    return render_suites([("", summary)])


def render_suites(suites: Sequence[tuple[str, SuiteSummary]]) -> str:
    """Return the report on suites as HTML, each with its name."""
    longest = longest_start([run for _, summary in suites for run in summary.runs])
    numbers = itertools.count(1)
    sections = [
        SuiteSection(
            name=name,
            headline=headline(summary.runs),
            machine=Machine.of(summary.runs),
            runs=[RunPage.of(next(numbers), run, longest) for run in summary.runs],
            footnotes=summary.footnotes,
        )
        for name, summary in suites
    ]
    return render_page(
        "suite.html.jinja",
        sections=sections,
        headline=headline([run for _, summary in suites for run in summary.runs]),
        only=sections[0].runs[0].summary.name if [len(each.runs) for each in sections] == [1] else None,
    )


def headline(runs: Sequence[RunSummary]) -> str:
    """Return how many runs have each status, the most urgent first."""
    statuses = [run.status for run in runs]
    numbers = [(statuses.count(status), status) for status in SEVERITY if status in statuses]
    return ", ".join(f"{number} {status}{_plural(status, number)}" for number, status in numbers) or "No runs"


def _plural(status: Status, number: int) -> str:
    return "s" if number != 1 and status in (Status.KNOWN_ISSUE, Status.ERROR) else ""


def render_page(template: str, **values: Any) -> str:
    """Return the page of a template, with the values that all pages have."""
    style, script = _static("report.css"), _static("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(style=style, script=script, script_digest=digest, version=__version__, **values)
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("coldwarm.report.html"),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mark"] = lambda status: _MARKS[status]
    environment.filters["seconds"] = _seconds
    environment.filters["layer_counts"] = _layer_counts
    environment.filters["place"] = short_place
    environment.filters["css"] = lambda status: str(status).replace(" ", "-")
    environment.tests["web_link"] = is_web_link
    return environment


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _layer_counts(counts: LayerCounts | None) -> str:
    """Return what the parts of the counts do not say: bypasses, and that the cache is off."""
    if counts is None:
        return ""
    if counts.is_off:
        return "off"
    return f"{counts.bypasses} bypassed" if counts.bypasses else ""


@cache
def _static(name: str) -> str:
    return (files("coldwarm.report.html") / "static" / name).read_text(encoding="utf-8")
