"""`coldwarm accept`: writes what stored runs measured into the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption
from coldwarm.cli.results import stdout
from coldwarm.core.exit_codes import ExitCode


def accept(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Accept what is stored in these folders: suites, or single runs. Runs of one model under the same "
            "conditions must agree.",
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes, and write nothing.")] = False,
    catalog: CatalogOption = None,
) -> None:
    """Write what stored runs measured into the catalog, as its new expectations.

    Use it after an upgrade. If the catalog has an expectation for the conditions of a run (device, versions, ...) that
    the run does not meet, the expectation is replaced. If it has none, one is added for all patch releases of the
    versions. Each change is printed, with known issues and findings that may explain it, and a diff of the files.
    Review the diff before you commit.

    A run is refused if it breaks an invariant and no known issue accepts that, if it had options or variables that
    expectations do not apply to, if it was run with --depth trace, or if its model is in no catalog.

    Examples:
      coldwarm accept coldwarm-runs/X --dry-run      # what would change
      coldwarm accept coldwarm-runs/X                # all runs of a suite
      coldwarm accept coldwarm-runs/X/glm-4.5        # one run of it
      coldwarm accept runs/1 runs/2 --catalog mine   # two suites that must agree
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.catalog.writing import check_writable, write_file
    from coldwarm.report.acceptance_view import print_acceptances, print_diff
    from coldwarm.suite.acceptance import Decision, file_changes
    from coldwarm.suite.acceptance import accept as decide

    decided = decide(folders, Catalog.read(catalog or []))
    changes = file_changes(decided)
    if not dry_run:
        for change in changes:
            check_writable(change.path)
    console = stdout()
    print_acceptances(console, decided)
    print_diff(console, changes)
    if not dry_run:
        for change in changes:
            write_file(change.path, change.after)
            console.print(f"wrote {change.path}", soft_wrap=True)
    if any(each.decision is Decision.REFUSED for each in decided):
        raise typer.Exit(ExitCode.FAILED)
