"""`coldwarm compare`: shows what changed since the last accepted run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption


def compare(
    accepted: Annotated[
        Path, typer.Argument(metavar="ACCEPTED", help="Compare with the suite that is stored in this folder.")
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Compare the suite that is stored in this folder.")],
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Keep RUN as the last accepted run, without logs and traces, if all of its models passed, showed a "
            "known issue, or cannot run here. ACCEPTED need not exist.",
        ),
    ] = False,
    catalog: CatalogOption = None,
) -> None:
    """Show what changed since the last accepted run: versions, and what broke or was fixed.

    It prints Markdown. The current catalog judges both suites. With --update, ACCEPTED becomes a copy of RUN if RUN is
    healthy. Otherwise ACCEPTED stays, so that each run shows the failure until it is fixed or accepted.

    Examples:
      coldwarm compare coldwarm-runs/A coldwarm-runs/B
      coldwarm compare accepted coldwarm-out --update   # as in a nightly pipeline
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.core.exit_codes import ExitCode
    from coldwarm.report.versions_view import comparison_as_markdown
    from coldwarm.store.suite_folder import keep_records
    from coldwarm.suite.stored import judge_suite
    from coldwarm.suite.versions import compare_suites

    # A pipeline quotes its words, so the shell does not expand `~`.
    accepted = accepted.expanduser()
    newer = judge_suite(run, catalog or [])
    if update and not accepted.exists():
        sys.stdout.write("There is no accepted run yet.\n")
    else:
        comparison = compare_suites(accepted, run, Catalog.read(catalog or []))
        sys.stdout.write(comparison_as_markdown(comparison, Path()))
    if update and newer.exit_code is ExitCode.HEALTHY:
        keep_records(run, accepted)
