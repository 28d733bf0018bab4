"""Writes the report of a suite into its folder, where `coldwarm run` leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coldwarm.core.run_folder import SuiteFolder
from coldwarm.report.exporters import Report
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.result import RunResult


def write_suite_report(folder: Path, results: Sequence[RunResult]) -> Path | None:
    """Write the report of a suite, and return its path; None: there are no results.

    Raises:
        UsageError: The file cannot be written.
    """
    if not results:
        return None
    path = SuiteFolder(folder).report
    Report("html", path).write(SuiteSummary.of(list(results)))
    return path
