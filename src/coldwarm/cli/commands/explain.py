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
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a suite, or of one run in it.")],
    model: Annotated[str | None, typer.Argument(help="One model of the suite.", show_default="all")] = None,
    json: JsonOption = False,
    perfetto: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write both starts of one run as a trace for https://ui.perfetto.dev (Chrome's JSON format).",
        ),
    ] = None,
    catalog: CatalogOption = None,
) -> None:
    """Say why: where the time went, why subgraphs are not shared, and what the warm start missed.

    Read from the traces, cache keys and logs that a run keeps; where those are gone, from what was explained then.
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.report.explanation_view import print_explanation
    from coldwarm.report.exporters import render
    from coldwarm.report.perfetto import write_perfetto
    from coldwarm.report.summary import SuiteSummary
    from coldwarm.suite.explaining import explain_again

    results = explain_again(folder, Catalog.read(catalog or []), model)
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
