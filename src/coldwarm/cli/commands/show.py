"""`coldwarm show`: shows a model of the catalog, or a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption
from coldwarm.cli.results import stdout


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN", help="Show the model of this id or path, or what is stored in this folder."
        ),
    ],
    catalog: CatalogOption = None,
) -> None:
    """Show a model of the catalog, or the checks of a stored run.

    For a model: how it is started, how it deviates from the published config and why, and its expected counters. For a
    run: its checks, phases, caches, versions and warnings.

    Examples:
      coldwarm show glm-4.5                  # a model
      coldwarm show coldwarm-runs/X          # all runs of a suite
      coldwarm show coldwarm-runs/X/glm-4.5  # one run
    """
    from coldwarm.catalog.catalog import Catalog, is_file
    from coldwarm.core.run_folder import RunFolder, SuiteFolder
    from coldwarm.report.catalog_view import print_model
    from coldwarm.report.run_view import print_run
    from coldwarm.report.summary import RunSummary
    from coldwarm.suite.stored import judge_stored

    folder = Path(what)
    if is_file(SuiteFolder(folder).suite) or is_file(RunFolder(folder).case):
        for result in judge_stored(folder, Catalog.read(catalog or [])):
            print_run(stdout(), RunSummary.of(result))
    else:
        print_model(stdout(), Catalog.read(catalog or []).resolve(what))
