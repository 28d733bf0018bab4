"""Exports a suite's results as one HTML file that opens offline."""

from __future__ import annotations

from coldwarm.report.html.page import render_suite
from coldwarm.report.summary import SuiteSummary


def render(summary: SuiteSummary) -> str:
    """Return the report."""
    return render_suite(summary)
