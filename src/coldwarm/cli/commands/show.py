"""`coldwarm show`: shows a model of the catalog, or a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption
from coldwarm.cli.results import stdout


def show(
    what: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="A model's id or path, or the folder of a run.")],
    catalog: CatalogOption = None,
) -> None:
    """Show one model of the catalog (what is started, why it deviates, what is expected), or the checks of a run."""
    from coldwarm.catalog.catalog import Catalog, is_file
    from coldwarm.core.run_folder import RunFolder, SuiteFolder
    from coldwarm.report.catalog_view import print_model
    from coldwarm.report.run_view import print_run
    from coldwarm.report.summary import RunSummary
    from coldwarm.suite.judging import judge_again

    folder = Path(what)
    if is_file(SuiteFolder(folder).suite) or is_file(RunFolder(folder).case):
        for result in judge_again(folder, Catalog.read(catalog or [])):
            print_run(stdout(), RunSummary.of(result))
    else:
        print_model(stdout(), Catalog.read(catalog or []).resolve(what))
