"""A bisection from its settings to its result: which candidate is the first bad one, why, and what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coldwarm.bisection.candidates import Say, Source
from coldwarm.bisection.measure import Measurement, Measurements
from coldwarm.bisection.search import Found, search
from coldwarm.bisection.source_changes import (
    FileChange,
    FunctionChange,
    Version,
    changed_around,
    changed_files,
    traced_files,
)
from coldwarm.catalog.catalog import Catalog
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.finding import Finding

SETTINGS = "bisect.json"
"""What was measured in a folder, so that other settings are not taken for it."""
DIFF = "changes.diff"


@dataclass(frozen=True)
class Bisection:
    """The result."""

    noun: str
    """What the candidates are."""
    found: Found
    findings: list[Finding]
    """What explains the first bad candidate, and not the last good one."""
    reasons: list[str]
    """The reasons of its verdict, if it has no finding."""
    around: list[FunctionChange] = field(default_factory=list)
    """How the functions that the findings name changed."""
    changed: list[FileChange] = field(default_factory=list)
    """The changed files that the model is traced from."""
    diff: Path | None = None
    """The file with all changes of these files; None: there are none."""


def bisect(
    source: Source,
    model: str,
    options: Sequence[str],
    folder: Path,
    *,
    settings: Mapping[str, object],
    catalog: Sequence[Path],
    check: str | None,
    depths: Sequence[Depth],
    say: Say,
) -> Bisection:
    """Find the first bad candidate of `source`.

    Args:
        source: The candidates.
        model: The model as named on the command line.
        options: Further arguments of ``coldwarm run``.
        folder: Where the runs are stored. What an earlier call with the same settings measured is not repeated.
        settings: What affects a measurement, besides the candidate and the depth.
        catalog: Folders of the user's own model TOML files.
        check: What decides; None: the first check that differs.
        depths: The depths to try, the cheapest first.
        say: Receives what is being done.

    Raises:
        UsageError: `folder` has the runs of other settings, or the ends do not differ or cannot be judged.
        KeyboardInterrupt: Ctrl-C. Running starts and installations were ended; finished runs are stored.
    """
    _claim(folder, settings)
    measurements = Measurements(source, model, options, folder, Catalog.read(catalog), say)
    found = search(list(source.names), measurements, check=check, depths=depths, say=say)
    findings = _new_findings(found.last_good, found.first_bad)
    bad = found.first_bad.result
    reasons = [found.first_bad.why_not] if found.first_bad.why_not else []
    if not findings and bad is not None and not reasons:
        reasons = bad.verdict.reasons
    good_version, bad_version = (
        Version(each.name, measurements.candidate(each.name).root) for each in (found.last_good, found.first_bad)
    )
    places = [place for finding in findings if finding.where and (place := bad_version.place(finding.where))]
    around = [each for place in dict.fromkeys(places) if (each := changed_around(good_version, bad_version, place))]
    traced = [
        traced_files(each.folder, version, each.result.case.engine) if each.folder and each.result else []
        for each, version in ((found.last_good, good_version), (found.first_bad, bad_version))
    ]
    traced[1] = list(dict.fromkeys([*(place.file for place in places), *traced[1]]))
    changed = changed_files(good_version, bad_version, *traced)
    return Bisection(
        noun=source.noun,
        found=found,
        findings=findings,
        reasons=reasons,
        around=around,
        changed=changed,
        diff=_write_diff(folder, changed),
    )


def _claim(folder: Path, settings: Mapping[str, object]) -> None:
    """Write the settings to `folder`; if it has some, they must be the same."""
    file = folder / SETTINGS
    wanted = json.loads(json.dumps(settings))
    try:
        if file.is_file():
            measured = json.loads(file.read_text(encoding="utf-8"))
            if measured != wanted:
                differing = sorted(key for key in {*measured, *wanted} if measured.get(key) != wanted.get(key))
                raise UsageError(f"{folder} was measured with another {', '.join(differing)}; choose another --output")
            return
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    except ValueError as error:
        raise UsageError(f"{file} cannot be read: {error}; choose another --output") from error
    except OSError as error:
        raise UsageError(f"cannot write to {error.filename}: {error.strerror}") from error


def _new_findings(good: Measurement, bad: Measurement) -> list[Finding]:
    """Return the findings on the bad run that the good run does not have."""
    known = {finding.what for finding in _findings(good)}
    return [each for each in _findings(bad) if each.what not in known]


def _findings(measurement: Measurement) -> list[Finding]:
    return measurement.result.findings_on_model if measurement.result else []


def _write_diff(folder: Path, changed: Sequence[FileChange]) -> Path | None:
    if not changed:
        return None
    path = folder / DIFF
    path.write_text("".join(f"{line}\n" for change in changed for line in change.diff), encoding="utf-8")
    return path
