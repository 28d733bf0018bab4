"""`coldwarm report`: writes stored runs as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption
from coldwarm.cli.results import stdout


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Report what is stored in these folders: suites, or single runs of them."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Write the page to this file.", show_default="report.html"),
    ] = Path("report.html"),
    catalog: CatalogOption = None,
) -> None:
    """Write stored runs as one HTML page that opens offline.

    It has the verdicts, time lines, subgraphs, caches and findings of each run. The current catalog judges them, so
    pass the same --catalog as to 'coldwarm run'.

    Examples:
      coldwarm report coldwarm-runs/X                # writes ./report.html
      coldwarm report coldwarm-runs/* -o weeks.html  # several suites
      coldwarm report coldwarm-runs/X/glm-4.5        # a single run
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.report.files import check_writable, write_report
    from coldwarm.report.html.page import render_suites
    from coldwarm.report.summary import SuiteSummary
    from coldwarm.suite.stored import judge_explained

    check_writable(output)
    packaged = Catalog.read(catalog or [])
    suites = [(folder.resolve().name, SuiteSummary.of(judge_explained(folder, packaged))) for folder in folders]
    page = render_suites(suites)
    write_report(output, lambda file: file.write_text(page, encoding="utf-8", errors="replace"))
    stdout().print(f"report: {output}", soft_wrap=True)
