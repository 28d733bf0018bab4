"""`coldwarm judge`: judges stored runs again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption, JunitOption, MarkdownOption, OldJsonOption, ReportOption
from coldwarm.cli.results import requested_reports, write_results


def judge(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Judge what is stored in this folder: a suite, or one run of it.")
    ],
    report: ReportOption = None,
    json: OldJsonOption = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Judge stored runs again, without an engine or torch.

    The current catalog decides, so pass the same --catalog as to 'coldwarm run'. A model that was named by a path, or
    that is no longer in the catalog, is judged by the entry that was stored with its run.

    Examples:
      coldwarm judge coldwarm-runs/X                          # all runs of a suite
      coldwarm judge coldwarm-runs/X --report markdown=x.md   # with a report
    """
    from coldwarm.suite.stored import judge_suite

    reports = requested_reports(report, json=json, junit=junit, markdown=markdown)
    suite = judge_suite(folder, catalog or [])
    write_results(suite.runs, reports)
    if suite.not_started:
        sys.stderr.write(f"never started, the suite was ended before: {', '.join(suite.not_started)}\n")
    raise typer.Exit(suite.exit_code)
