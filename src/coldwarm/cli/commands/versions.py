"""`coldwarm versions`: compares stored suites of several versions of the engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import CatalogOption
from coldwarm.core.errors import UsageError


def versions(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="SUITE...", help="Compare the suites that are stored in these folders."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the tables to this file, with links that are relative to its folder.",
            show_default="stdout",
        ),
    ] = None,
    catalog: CatalogOption = None,
) -> None:
    """Compare versions of vLLM: the counts and verdict of each model, and what each version broke or fixed.

    It prints Markdown: a table for each device and way of compiling, and below it what changed from version to version,
    with the known issue or vLLM's own reason. The current catalog judges all runs.

    Examples:
      coldwarm versions runs/A runs/B   # before and after an upgrade
      coldwarm versions records/*/ --output docs/versions.md
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.report.versions_view import versions_as_markdown
    from coldwarm.suite.versions import compare_versions

    tables = compare_versions(folders, Catalog.read(catalog or []))
    text = versions_as_markdown(tables, Path() if output is None else output.parent)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
