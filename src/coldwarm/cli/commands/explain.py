"""`coldwarm explain`: explains stored runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption, JsonOption
from coldwarm.cli.results import stdout
from coldwarm.core.errors import UsageError


def explain(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Explain what is stored in this folder: a suite, or one run of it.")
    ],
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Explain only this model of the suite.", show_default="all")
    ] = None,
    json: JsonOption = False,
    perfetto: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write both starts of one run as a trace in Chrome's JSON format, for https://ui.perfetto.dev.",
        ),
    ] = None,
    catalog: CatalogOption = None,
) -> None:
    """Explain stored runs: where the time went, and why something was recompiled or not shared.

    The traces, cache keys and logs of a run are read again. If they are gone, its stored explanation is shown.

    Examples:
      coldwarm explain coldwarm-runs/X                            # a suite
      coldwarm explain coldwarm-runs/X glm-4.5                    # one run of it
      coldwarm explain coldwarm-runs/X/glm-4.5 --perfetto t.json  # its time line
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.report.explanation_view import print_explanation
    from coldwarm.report.exporters import render
    from coldwarm.report.perfetto import write_perfetto
    from coldwarm.report.summary import SuiteSummary
    from coldwarm.suite.stored import explain_stored

    results = explain_stored(folder, Catalog.read(catalog or []), model)
    if perfetto is not None:
        if len(results) != 1:
            raise UsageError(f"--perfetto writes one run; name a model: {', '.join(r.case.name for r, _ in results)}")
        [(result, run_folder)] = results
        write_perfetto(perfetto, run_folder, [record for record in (result.cold, result.warm) if record])
    if json:
        sys.stdout.write(render("json", SuiteSummary.of([result for result, _ in results])))
        return
    for result, _ in results:
        if result.explanation is not None:
            print_explanation(stdout(), result, result.explanation)
