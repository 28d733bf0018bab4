"""How commands with a verdict end: reports, the table, the exit code.

Imports inside the functions keep `coldwarm --help` fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from coldwarm.cli.errors import usage_error
from coldwarm.core.errors import UsageError

if TYPE_CHECKING:
    from coldwarm.report.console import PlainConsole
    from coldwarm.report.exporters import Report
    from coldwarm.suite.result import RunResult


def requested_reports(
    report: list[str] | None, *, json: bool, junit: Path | None, markdown: Path | None
) -> list[Report]:
    """Return the reports of --report, and of the older flags for one format each.

    Raises:
        UsageError: A format is unknown, a file is missing, or two reports go to the same place.
    """
    from coldwarm.report.exporters import STDOUT, parse_reports

    older = [f"json={STDOUT}"] if json else []
    older += [f"{name}={path}" for name, path in (("junit", junit), ("markdown", markdown)) if path is not None]
    return parse_reports([*(report or []), *older])


def write_results(results: list[RunResult], reports: list[Report]) -> None:
    """Write the `reports`, then print the table; or, instead of it, the report that goes to stdout.

    Raises:
        UsageError: A file cannot be written; the others are, and the results are printed.
    """
    from coldwarm.report.summary import SuiteSummary

    summary = SuiteSummary.of(results)
    problems = []
    # Files first: whoever reads stdout may stop reading (`| head`).
    for report in reports:
        try:
            report.write(summary)
        except UsageError as error:
            problems.append(str(error))
    if printed := [report for report in reports if report.path is None]:
        from coldwarm.report.exporters import render

        sys.stdout.write(render(printed[0].format, summary))
    elif results:
        from coldwarm.report.table import print_results

        print_results(stdout(), summary)
    if problems:
        raise usage_error(problems)


def exit_with(results: list[RunResult]) -> NoReturn:
    """End the command with the exit code for the worst of `results`."""
    from coldwarm.suite.result import exit_code

    raise typer.Exit(exit_code(results))


def print_markdown(text: str) -> None:
    """Print Markdown, in a terminal as formatted text."""
    if not sys.stdout.isatty():
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown

    # With the paths of pages instead of links, which would be relative to nothing in a terminal.
    stdout().print(Markdown(text, hyperlinks=False))


def stdout() -> PlainConsole:
    """Where the answers of commands go."""
    from coldwarm.report.console import PlainConsole

    return PlainConsole()
